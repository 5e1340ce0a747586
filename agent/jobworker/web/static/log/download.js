/**
 * Save a log as a file: page after page, into a file that the user chooses, or where the browser has no such dialogue
 * into a Blob, which browsers keep on disk when it is large.
 */

import { partOf } from "./pages.js";

/** @typedef {import("./pages.js").Read} Read */

const PAGE_BYTES = 512 << 10;
const PIECE_BYTES = 8 << 20; // of the memory of the page, until they go into a Blob
export const BLOB_BYTES = 2 ** 31; // the most that goes into a Blob; a chosen file has no limit

export class TooLarge extends Error {}

/**
 * Read a log to its end as it is now, and hand out its bytes in order; return how many there are and are missing.
 * @param {Read} read
 * @param {string[] | null} streams
 * @param {(bytes: Uint8Array, done: number, end: number) => Promise<void> | void} put
 * @param {AbortSignal} signal
 */
async function copy(read, streams, put, signal) {
  let [offset, end, bytes, missing] = [0, Infinity, 0, 0];
  while (offset < end) {
    signal.throwIfAborted();
    const answer = await read({ offset, max_bytes: PAGE_BYTES, ...(streams ? { streams } : {}) });
    if (end === Infinity) end = answer.end;
    for (const record of answer.records) {
      const part = partOf(record);
      if (part.offset >= end) break;
      if (part.gap) missing += part.end - part.offset;
      const data = part.bytes.subarray(0, Math.max(0, end - part.offset));
      bytes += data.length;
      await put(data, Math.min(answer.next, end), end);
    }
    if (answer.next <= offset) break;
    offset = answer.next;
  }
  return { bytes, missing };
}

/**
 * @param {Read} read
 * @param {{name: string, streams: string[] | null, signal: AbortSignal, onprogress: (share: number) => void}} how
 * @returns {Promise<{bytes: number, missing: number}>}
 */
export async function download(read, { name, streams, signal, onprogress }) {
  const choose = /** @type {any} */ (window).showSaveFilePicker;
  if (choose) {
    const file = await (await choose({ suggestedName: name })).createWritable();
    try {
      const done = await copy(read, streams, async (bytes, at, end) => {
        await file.write(bytes);
        onprogress(at / end);
      }, signal);
      await file.close();
      return done;
    } catch (error) {
      await file.abort();
      throw error;
    }
  }
  /** @type {Blob[]} */
  const blobs = [];
  /** @type {BlobPart[]} */
  let pieces = [];
  let [held, total] = [0, 0];
  const done = await copy(read, streams, (bytes, at, end) => {
    total += bytes.length;
    if (total > BLOB_BYTES) {
      throw new TooLarge("the log has over 2 GiB, more than this browser saves: use jw logs on a shell");
    }
    pieces.push(/** @type {Uint8Array<ArrayBuffer>} */ (bytes));
    held += bytes.length;
    if (held >= PIECE_BYTES) {
      blobs.push(new Blob(pieces));
      [pieces, held] = [[], 0];
    }
    onprogress(at / end);
  }, signal);
  const url = URL.createObjectURL(new Blob([...blobs, ...pieces], { type: "application/octet-stream" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return done;
}
