/** Choose the rows to show around a place. No document here. */

import { PAGE_BYTES } from "./pages.js";
import { LINE_BYTES, beginsLine, isMissing, rowFrom, startBefore, startOf } from "./rows.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./pages.js").LogPages} LogPages */
/**
 * @typedef {object} Rows
 * @property {Row[]} rows
 * @property {number} anchor  the index of the row that has the offset
 * @property {boolean} atStart  whether the first row is the first one of the log
 * @property {boolean} atEnd  whether the last row is the last one of the log
 * @property {number[]} wanted  the numbers of pages to read, the most urgent first; those after it to have in time
 * @property {boolean} missing  whether rows are missing until a page is read
 */

export const MAX_ROWS = 400; // in the document

/**
 * Return the rows around an offset: so many lines of the screen above the begin of its row, and so many from there on.
 * @param {LogPages} pages
 * @param {number} offset
 * @param {{above: number, below: number, columns: number, wrap: boolean}} room
 * @param {(row: Row) => number} [limitOf]  how many bytes of a row are shown
 * @returns {Rows}
 */
export function rowsAround(pages, offset, { above, below, columns, wrap }, limitOf = () => LINE_BYTES) {
  /** @type {Rows} */
  const found = { rows: [], anchor: 0, atStart: false, atEnd: false, wanted: [], missing: false };
  /** @param {number} page */
  const miss = (page) => {
    found.wanted.push(page);
    found.missing = true;
  };
  const start = startOf(pages, offset);
  if (isMissing(start)) {
    // A line may begin in the page before: both are read at once.
    for (const page of [Math.floor(offset / PAGE_BYTES), start.missing]) miss(page);
    return found;
  }
  if (start === null) return { ...found, atStart: true, atEnd: true };

  /** @param {Row} row */
  const lines = (row) => {
    const shown = Math.min(row.size, limitOf(row));
    return wrap || row.size > LINE_BYTES ? Math.max(1, Math.ceil(shown / columns)) : 1;
  };
  let begins = beginsLine(pages, start);
  let at = start;
  for (let left = below; left > 0 && found.rows.length < MAX_ROWS; ) {
    const row = rowFrom(pages, at, begins);
    if (row === null) found.atEnd = true;
    else if (isMissing(row)) miss(row.missing);
    if (row === null || isMissing(row)) break;
    found.rows.push(row);
    left -= lines(row);
    begins = row.ended || row.gap !== null;
    at = row.to;
  }
  found.atEnd ||= at >= pages.top;
  at = start;
  const before = [];
  for (let left = above; left > 0 && found.rows.length + before.length < MAX_ROWS; ) {
    const previous = startBefore(pages, at);
    if (previous === null) found.atStart = true;
    else if (isMissing(previous)) miss(previous.missing);
    if (previous === null || isMissing(previous)) break;
    const row = rowFrom(pages, previous, beginsLine(pages, previous));
    if (row === null || isMissing(row)) break; // it was there a moment ago: never
    before.push(row);
    left -= lines(row);
    at = row.from;
  }
  found.atStart ||= at <= 0;
  found.rows.unshift(...before.reverse());
  found.anchor = before.length;
  const first = Math.floor(at / PAGE_BYTES);
  const last = Math.floor((found.rows.length ? found.rows[found.rows.length - 1].to : at) / PAGE_BYTES);
  found.wanted.push(last + 1, first - 1);
  found.wanted = found.wanted.filter((page) => page >= 0 && page * PAGE_BYTES < pages.end);
  return found;
}
