/** Find the colours with which a row begins: those that its stream has set before, in the same page. */

import { PLAIN, colourAt, restyled } from "./ansi.js";
import { PAGE_BYTES } from "./pages.js";

const ESC = 0x1b;
const MAX_SEQUENCES = 100; // that are looked at for one row

/**
 * @param {import("./pages.js").LogPages} pages
 * @param {import("./rows.js").Row} row
 * @returns {import("./ansi.js").Style}
 */
export function styleBefore(pages, row) {
  const page = pages.held.get(Math.floor(row.from / PAGE_BYTES));
  /** @type {string[]} the parameters of colours, the last one first */
  const found = [];
  for (let index = (page?.parts.length ?? 0) - 1; index >= 0 && found.length < MAX_SEQUENCES; index--) {
    const part = /** @type {import("./pages.js").Page} */ (page).parts[index];
    if (part.offset >= row.from || part.stream !== row.stream || !coloured(part)) continue;
    const data = part.bytes.subarray(0, row.from - part.offset);
    for (let at = data.lastIndexOf(ESC); at >= 0 && found.length < MAX_SEQUENCES; at = data.lastIndexOf(ESC, at - 1)) {
      const params = colourAt(data, at);
      if (params !== null) {
        if (params === "" || params === "0") return found.reverse().reduce(restyled, PLAIN);
        found.push(params);
      }
      if (at === 0) break;
    }
  }
  return found.length ? found.reverse().reduce(restyled, PLAIN) : PLAIN;
}

/** @type {WeakMap<Uint8Array, boolean>} whether bytes have a control sequence: most have none */
const known = new WeakMap();

/** @param {import("./pages.js").Part} part */
function coloured({ bytes }) {
  let found = known.get(bytes);
  if (found === undefined) known.set(bytes, (found = bytes.includes(ESC)));
  return found;
}
