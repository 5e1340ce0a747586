/** How the rows of a view look: how much of each is shown, what is marked in it, its number. */

import { styleBefore } from "./colours.js";
import { Numbers } from "./numbers.js";
import { rowElement } from "./paint.js";
import { BLOCK_BYTES, LINE_BYTES } from "./rows.js";

/** @typedef {import("./rows.js").Row} Row */

export class Lines {
  /**
   * @param {import("./finder.js").Finder} finder
   * @param {Numbers} numbers
   */
  constructor(finder, numbers) {
    this._finder = finder;
    this._numbers = numbers;
    /** @type {Map<number, number>} by row: how many of its bytes are shown, if more than at first */
    this._limits = new Map();
    this.numbered = true;
    /** @type {number | null} the offset of a place that was gone to */
    this.target = null;
  }

  /** Return how many bytes of a row are shown. @param {Row} row */
  limit(row) {
    return this._limits.get(row.from) ?? LINE_BYTES;
  }

  /** Show more of a row. @param {Row} row */
  extend(row) {
    this._limits.set(row.from, Math.min(this.limit(row) + LINE_BYTES, BLOCK_BYTES + LINE_BYTES));
  }

  /** Return a text that is another one when the row looks different. @param {Row} row */
  key(row) {
    const hits = this._finder.key(row);
    return `${row.from} ${row.to} ${row.begins ? "" : "m"} ${row.size} ${this.limit(row)} ${hits}`;
  }

  /** @param {Row} row @param {import("./pages.js").LogPages} pages */
  paint(row, pages) {
    return rowElement(row, { style: styleBefore(pages, row), hits: this._finder.within(row), limit: this.limit(row) });
  }

  /**
   * Number and mark the rows in the document; return the number of the line at an offset, null if it is not known.
   * @param {Map<Element, Row>} rows  in their order
   * @param {number} offset
   */
  mark(rows, offset) {
    const numbers = this.numbered ? this._numbers.of([...rows.values()], offset) : [];
    let [index, shown] = [0, /** @type {number | null} */ (null)];
    for (const [element, row] of rows) {
      const line = numbers[index++] ?? null;
      if (row.from === offset) shown = line;
      const text = line !== null && row.begins && row.gap === null ? String(line) : "";
      const cell = element.firstElementChild;
      if (row.gap === null && cell && cell.textContent !== text) cell.textContent = text;
      const target = this.target !== null && row.from <= this.target && this.target < row.to;
      element.classList.toggle("log-target", target);
      element.classList.toggle("log-current", this._finder.isCurrent(row));
    }
    return shown;
  }
}
