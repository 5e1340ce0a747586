/**
 * Cut the pages of a log into rows: a line, or a part of it of one stream. No document here.
 *
 * Where a row begins depends only on the bytes before it, at most BLOCK_BYTES + LINE_BYTES of them: so the same rows
 * come out wherever one begins to read. A longer line is a row for each block of it.
 */

import { PAGE_BYTES, clipped } from "./pages.js";

/** @typedef {import("./pages.js").Part} Part */
/** @typedef {import("./pages.js").LogPages} LogPages */
/**
 * @typedef {object} Row
 * @property {number} from  the offset of its first byte
 * @property {number} to  after its last byte, the newline included
 * @property {string} stream
 * @property {string} time  when its first byte arrived
 * @property {Part[]} parts  its bytes
 * @property {number} size  of its bytes, the newline excluded
 * @property {boolean} ended  whether it ends with a newline
 * @property {boolean} begins  whether a line begins here, as far as is known
 * @property {string | null} gap  why the log does not have these bytes
 */
/** @typedef {{missing: number}} Missing  the number of a page that has to be read first */

export const LINE_BYTES = 16 << 10; // of a line that are shown at first
export const BLOCK_BYTES = 256 << 10; // of a longer line that make one row
const NEWLINE = 10;

/**
 * @param {Row | Missing | number | null} found
 * @returns {found is Missing}
 */
export function isMissing(found) {
  return found !== null && typeof found === "object" && "missing" in found;
}

/**
 * Return the part that has an offset or, of one stream only, the next one; null at the end of the log.
 * @param {LogPages} pages
 * @param {number} offset
 * @returns {Part | Missing | null}
 */
function partAt(pages, offset) {
  for (let at = offset; at < pages.top; ) {
    const number = Math.floor(at / PAGE_BYTES);
    const page = pages.held.get(number);
    const part = page && find(page.parts, at);
    if (part && part.offset < pages.top) return clipped(part, offset, part.end);
    const whole = pages.page(number);
    if (!whole) return { missing: number };
    at = Math.max(whole.next, whole.to, at + 1);
  }
  return null;
}

/**
 * Return the first part that ends beyond an offset.
 * @param {Part[]} parts
 * @param {number} offset
 */
function find(parts, offset) {
  let [low, high] = [0, parts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (parts[middle].end <= offset) low = middle + 1;
    else high = middle;
  }
  return parts[low];
}

/**
 * Return the part that ends at an offset or, of one stream only, the last one before it; null at the begin of the log.
 * @param {LogPages} pages
 * @param {number} offset
 * @param {number} down  do not look before this offset
 * @returns {Part | Missing | null}
 */
function partBefore(pages, offset, down) {
  for (let at = offset; at > down; ) {
    const number = Math.floor((at - 1) / PAGE_BYTES);
    const page = pages.page(number, at);
    if (!page) return { missing: number };
    for (let index = page.parts.length - 1; index >= 0; index--) {
      const part = clipped(page.parts[index], down, offset);
      if (part) return part;
    }
    at = page.from;
  }
  return null;
}

/**
 * Return the row that begins at an offset; null at the end of the log.
 * @param {LogPages} pages
 * @param {number} from
 * @param {boolean} [begins]  whether a line begins there, if that is known
 * @returns {Row | Missing | null}
 */
export function rowFrom(pages, from, begins = true) {
  const first = partAt(pages, from);
  if (first === null || "missing" in first) return first;
  if (first.gap !== null) return gapRow(pages, first.gap);
  const stop = blockAfter(first.offset + LINE_BYTES);
  const row = rowOf(first, begins);
  for (let part = /** @type {Part | Missing | null} */ (first); part !== null; part = partAt(pages, row.to)) {
    if ("missing" in part) return part;
    if (part.gap !== null || part.stream !== row.stream || part.offset >= stop) break;
    const newline = part.bytes.indexOf(NEWLINE);
    const piece = /** @type {Part} */ (clipped(part, part.offset, newline < 0 ? stop : part.offset + newline + 1));
    row.parts.push(piece);
    row.to = piece.end;
    row.size += piece.bytes.length;
    if (newline >= 0 && piece.end === part.offset + newline + 1) {
      row.ended = true;
      row.size--;
      break;
    }
    if (row.to >= stop) break;
  }
  return row;
}

/**
 * Return where the row that ends at an offset begins; or, if a row begins there, the row before; null at the begin.
 * @param {LogPages} pages
 * @param {number} to
 * @returns {number | Missing | null}
 */
export function startBefore(pages, to) {
  const last = partBefore(pages, to, 0);
  if (last === null || "missing" in last) return last;
  if (last.gap !== null) return last.gap.from;
  return lineStart(pages, last, last.end - 1);
}

/**
 * Return where the row begins that has an offset.
 * @param {LogPages} pages
 * @param {number} offset
 * @returns {number | Missing | null}
 */
export function startOf(pages, offset) {
  const part = partAt(pages, Math.max(0, offset));
  if (part === null) return startBefore(pages, pages.top);
  if ("missing" in part) return part;
  if (part.gap !== null) return part.gap.from;
  return lineStart(pages, part, part.offset);
}

/**
 * Return where the row begins that has the byte at an offset, which is in `here`.
 * @param {LogPages} pages
 * @param {Part} here
 * @param {number} offset
 * @returns {number | Missing}
 */
function lineStart(pages, here, offset) {
  const block = Math.floor(offset / BLOCK_BYTES) * BLOCK_BYTES;
  const down = Math.max(0, block - LINE_BYTES - 1);
  let start = offset;
  /** @type {Part | Missing | null} */
  let before = clipped(here, down, offset) ?? partBefore(pages, offset, down);
  for (; before !== null; before = partBefore(pages, start, down)) {
    if ("missing" in before) return before;
    if (before.gap !== null || before.stream !== here.stream) return start;
    const newline = before.bytes.lastIndexOf(NEWLINE);
    if (newline >= 0) return newline + 1 < before.bytes.length ? before.offset + newline + 1 : start;
    start = before.offset;
  }
  // No begin of a line in sight. Of one stream only there may be no byte at the begin of the block.
  if (down === 0) return start;
  const first = partAt(pages, block);
  return first === null || "missing" in first ? start : first.offset;
}

/**
 * Whether a line begins at an offset at which a row begins; null if the page before is not held.
 * @param {LogPages} pages
 * @param {number} offset
 */
export function beginsLine(pages, offset) {
  if (offset <= 0) return true;
  const before = partBefore(pages, offset, Math.max(0, offset - PAGE_BYTES));
  if (before === null || "missing" in before) return true;
  return before.gap !== null || before.bytes[before.bytes.length - 1] === NEWLINE;
}

/**
 * Return the bytes of a row, without its newline and the carriage return before that.
 * @param {Row} row
 * @param {number} [limit]
 * @returns {Uint8Array}
 */
export function bytesOfRow(row, limit = LINE_BYTES) {
  const data = new Uint8Array(Math.min(row.size, limit));
  let at = 0;
  for (const { bytes } of row.parts) {
    const piece = bytes.subarray(0, data.length - at);
    data.set(piece, at);
    at += piece.length;
    if (at >= data.length) break;
  }
  const whole = row.ended && row.size === data.length;
  return whole && data[data.length - 1] === 13 ? data.subarray(0, data.length - 1) : data;
}

/**
 * Return at which bytes of a row's data a range of offsets begins and ends.
 * @param {Row} row
 * @param {number} from
 * @param {number} to
 * @returns {[number, number]}
 */
export function within(row, from, to) {
  let at = 0;
  let [begin, end] = [-1, 0];
  for (const part of row.parts) {
    const piece = clipped(part, from, to);
    if (piece) {
      if (begin < 0) begin = at + piece.offset - part.offset;
      end = at + piece.end - part.offset;
    }
    at += part.bytes.length;
  }
  return [Math.max(0, begin), end];
}

/** @param {number} offset */
function blockAfter(offset) {
  return (Math.floor(offset / BLOCK_BYTES) + 1) * BLOCK_BYTES;
}

/**
 * @param {Part} part
 * @param {boolean} begins
 * @returns {Row}
 */
function rowOf({ offset, stream, time }, begins) {
  return { from: offset, to: offset, stream, time, parts: [], size: 0, ended: false, begins, gap: null };
}

/**
 * Return a row for a gap.
 * @param {LogPages} pages
 * @param {import("./pages.js").Gap} gap
 * @returns {Row}
 */
function gapRow(pages, { from, to, reason }) {
  const end = reason === "dropped" ? Math.max(to, pages.first) : to;
  return { from, to: end, stream: "", time: "", parts: [], size: 0, ended: false, begins: true, gap: reason };
}
