/** Draw where matches are, beside the scrollbar: one canvas, however many there are. */

import { make } from "./paint.js";

export class Marks {
  /** @param {(share: number) => void} ongo  called with the place of a click, 0 to 1 */
  constructor(ongo) {
    this.canvas = make("canvas", "log-marks");
    this.canvas.setAttribute("aria-hidden", "true"); // next and previous lead to the same places
    this.canvas.addEventListener("click", (event) => ongo(event.offsetY / this.canvas.clientHeight));
  }

  /**
   * @param {import("./search.js").Search | null} search
   * @param {number} first  offset at the top
   * @param {number} end
   * @param {number | null} current  the offset of the match that was gone to
   */
  draw(search, first, end, current) {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    if (!context) return;
    context.clearRect(0, 0, width, height);
    if (!search || end <= first) return;
    const style = getComputedStyle(canvas);
    const y = (/** @type {number} */ offset) => ((offset - first) / (end - first)) * (height - 2);
    context.fillStyle = style.color;
    let drawn = -1;
    const mark = (/** @type {number} */ offset) => {
      const at = Math.round(y(offset));
      if (at !== drawn) context.fillRect(2, (drawn = at), width - 4, 2);
    };
    for (const { offset } of search.matches) mark(offset);
    for (const offset of search.marks) mark(offset);
    if (current !== null) {
      context.fillStyle = style.outlineColor;
      context.fillRect(0, y(current) - 1, width, 4);
    }
  }
}
