/**
 * The part of a log that is held: pages around a place, read by `log.read`, at most 4 MiB. No document here.
 *
 * A page begins at a multiple of its size. With one stream only it has the bytes of that stream, and `next` tells
 * where more of them are, so that a few lines of stderr in a gigabyte of stdout need no reads in between.
 */

/**
 * @typedef {{reason: string, from: number, to: number}} Gap  all of it, wherever a page begins or ends
 * @typedef {{offset: number, end: number, stream: string, time: string, bytes: Uint8Array, gap: Gap | null}} Part
 * @typedef {{from: number, to: number, parts: Part[], next: number, size: number}} Page
 * @typedef {{records: any[], next: number, end: number}} Answer  of `log.read`
 * @typedef {(params: {offset: number, max_bytes: number, streams?: string[], arrivals?: boolean}) => Promise<Answer>} Read
 */

export const PAGE_BYTES = 128 << 10;
export const HELD_BYTES = 4 << 20;
const HELD_PAGES = 256; // those of one stream may be empty
const ROOM = 4; // bytes read beyond a page: an answer may end before a character that is not complete
const AT_ONCE = 2; // reads under way: the agent allows 1 MiB a connection
const NOTHING = new Uint8Array();
const encoder = new TextEncoder();

/**
 * Return the bytes of a record of `log.read` or a piece of a subscription.
 * @param {{data?: string, encoding?: string, bytes?: Uint8Array}} record
 * @returns {Uint8Array}
 */
export function bytesOf(record) {
  if (record.bytes) return record.bytes;
  const data = record.data ?? "";
  if (record.encoding !== "base64") return encoder.encode(data);
  const binary = atob(data);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/**
 * Return the part of the log that a record or a piece of a subscription is.
 * @param {any} record
 * @returns {Part}
 */
export function partOf(record) {
  if (record.reason !== undefined && record.from !== undefined) {
    const { from: offset, to: end, reason } = record;
    const gap = { reason, from: reason === "dropped" ? 0 : offset, to: end };
    return { offset, end, stream: "", time: "", bytes: NOTHING, gap };
  }
  const bytes = bytesOf(record);
  const { offset, stream, time } = record;
  return { offset, end: offset + bytes.length, stream, time, bytes, gap: null };
}

/**
 * Return what of a part is between two offsets; null if nothing is.
 * @param {Part} part
 * @param {number} from
 * @param {number} to
 * @returns {Part | null}
 */
export function clipped(part, from, to) {
  const [offset, end] = [Math.max(part.offset, from), Math.min(part.end, to)];
  if (offset >= end) return null;
  const bytes = part.gap === null ? part.bytes.subarray(offset - part.offset, end - part.offset) : NOTHING;
  return { ...part, offset, end, bytes };
}

export class LogPages {
  /**
   * @param {Read} read
   * @param {{streams?: string[] | null, arrivals?: boolean, onload?: () => void, onerror?: (error: any) => void}} [how]
   */
  constructor(read, { streams = null, arrivals = false, onload = () => {}, onerror = () => {} } = {}) {
    this.end = 0; // of the log, as far as it is known
    this.first = 0; // the offset of the oldest byte that the log still has, as far as that is known
    this.cap = Infinity; // show nothing beyond: where the end is not read yet that a fast job has
    this.known = false; // whether the agent has answered how long the log is
    this.streams = streams;
    /** @type {Map<number, Page>} by number; those that were used last are last */
    this.held = new Map();
    this.failed = false; // the last read failed: nothing is read until `retry`
    this._read = read;
    this._arrivals = arrivals;
    this._onload = onload;
    this._onerror = onerror;
    /** @type {number[]} the pages to read next, the most urgent first */
    this._wanted = [];
    /** @type {Set<number>} the pages that are being read */
    this._reading = new Set();
    this._closed = false;
  }

  /** How many bytes are held. */
  get size() {
    let size = 0;
    for (const page of this.held.values()) size += page.size;
    return size;
  }

  /** The end of what is shown. */
  get top() {
    return Math.min(this.end, this.cap);
  }

  /** How far the last page that is held goes, 0 if there is none. */
  get tail() {
    let tail = 0;
    for (const { to } of this.held.values()) tail = Math.max(tail, to);
    return tail;
  }

  /** Whether a page is being read. */
  get busy() {
    return this._reading.size > 0;
  }

  /**
   * Return a page if it is held as far as the log is shown, or beyond an offset.
   * @param {number} number
   * @param {number} [beyond]
   * @returns {Page | null}
   */
  page(number, beyond = Infinity) {
    const page = this.held.get(number);
    if (!page) return null;
    const last = Math.min((number + 1) * PAGE_BYTES, this.top);
    return page.to >= Math.min(last, beyond) ? page : null;
  }

  /**
   * Read these pages, in this order; those wanted before and not yet being read are forgotten.
   * @param {Iterable<number>} numbers
   */
  want(numbers) {
    const lacks = (/** @type {number} */ number) => {
      return (this.held.get(number)?.to ?? -1) < Math.min((number + 1) * PAGE_BYTES, this.end);
    };
    this._wanted = [...numbers].filter((number) => !this.known || lacks(number));
    this._next();
  }

  /** Read again after a failure. */
  retry() {
    this.failed = false;
    this._next();
  }

  /** Forget everything that is held, as for other streams. */
  clear() {
    this.held.clear();
    this._wanted = [];
  }

  close() {
    this._closed = true;
    this.clear();
  }

  _next() {
    while (!this._closed && !this.failed && this._reading.size < AT_ONCE && this._wanted.length) {
      const number = /** @type {number} */ (this._wanted.shift());
      if (!this._reading.has(number)) this._load(number);
    }
  }

  /** @param {number} number */
  async _load(number) {
    this._reading.add(number);
    const stop = (number + 1) * PAGE_BYTES;
    const offset = this.held.get(number)?.to ?? number * PAGE_BYTES;
    try {
      const answer = await this.read(offset, stop - offset + ROOM);
      const [first] = answer.records;
      if (first && partOf(first).gap?.from === offset) first.from = await this._gapStart(first);
      if (this._closed) return;
      this._add(number, offset, answer);
    } catch (error) {
      if (this._closed) return;
      this.failed = true;
      this._onerror(error);
      return;
    } finally {
      this._reading.delete(number);
    }
    this._onload();
    this._next();
  }

  /**
   * Read from an offset, without holding what is read; notes the end of the log.
   * @param {number} offset
   * @param {number} bytes
   * @returns {Promise<Answer>}
   */
  async read(offset, bytes) {
    const answer = await this._read({
      offset,
      max_bytes: bytes,
      ...(this.streams ? { streams: this.streams } : {}),
      ...(this._arrivals ? { arrivals: true } : {}),
    });
    this.grow(answer.end);
    this.known = true;
    for (const record of answer.records) {
      if (record.reason === "dropped" && record.to > this.first) this.first = record.to;
    }
    return answer;
  }

  /**
   * Return where a gap begins that an answer begins with: there it is cut off at the offset that was asked for.
   * @param {{from: number, to: number}} record
   */
  async _gapStart(record) {
    /** @param {number} offset */
    const has = async (offset) => (await this.read(offset, 1)).records[0]?.to === record.to;
    let [low, high] = [record.from, record.from]; // it begins at `low` or later, at `high` or before
    for (let step = 1; low > 0; step *= 16) {
      low = Math.max(0, record.from - step);
      if (!(await has(low))) break;
      high = low;
    }
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (await has(middle)) high = middle;
      else low = middle + 1;
    }
    return high;
  }

  /**
   * Note that the log has so many bytes.
   * @param {number} end
   */
  grow(end) {
    if (end > this.end) this.end = end;
  }

  /**
   * @param {number} number
   * @param {number} offset  at which the answer was read
   * @param {Answer} answer
   */
  _add(number, offset, answer) {
    const stop = (number + 1) * PAGE_BYTES;
    const old = this.held.get(number);
    if (old && old.to !== offset) return; // a piece of the subscription came first
    const parts = old?.parts ?? [];
    let next = answer.next;
    let size = old?.size ?? 0;
    for (const record of answer.records) {
      const whole = partOf(record);
      if (whole.offset >= stop) next = Math.min(next, whole.offset);
      const part = clipped(whole, offset, stop);
      if (!part) continue;
      parts.push(part);
      size += part.bytes.length;
    }
    const to = Math.min(stop, answer.next);
    this._hold(number, { from: number * PAGE_BYTES, to, parts, next: Math.max(to, next), size });
  }

  /**
   * Add a piece that a subscription has sent, if it follows what is held.
   * @param {any} piece
   */
  append(piece) {
    const part = partOf(piece);
    this.grow(part.end);
    if (part.gap?.reason === "dropped") this.first = Math.max(this.first, part.end);
    for (let at = part.offset; at < part.end; ) {
      const number = Math.floor(at / PAGE_BYTES);
      const stop = (number + 1) * PAGE_BYTES;
      const page = this.held.get(number);
      const slice = /** @type {Part} */ (clipped(part, at, stop));
      at = slice.end;
      const whole = slice.offset === number * PAGE_BYTES;
      if (!(page ? page.to === slice.offset || (this.streams && page.next <= slice.offset) : whole)) continue;
      const parts = page?.parts ?? [];
      const last = parts[parts.length - 1];
      if (last && last.gap === null && slice.gap === null && !this._arrivals && joins(last, slice)) {
        last.bytes = joined(last.bytes, slice.bytes);
        last.end = slice.end;
      } else {
        parts.push(slice);
      }
      const size = (page?.size ?? 0) + slice.bytes.length;
      this._hold(number, { from: number * PAGE_BYTES, to: slice.end, parts, next: slice.end, size });
    }
  }

  /**
   * @param {number} number
   * @param {Page} page
   */
  _hold(number, page) {
    this.held.delete(number);
    this.held.set(number, page);
    let size = this.size;
    for (const [old, { size: freed }] of this.held) {
      if ((size <= HELD_BYTES && this.held.size <= HELD_PAGES) || old === number) break;
      this.held.delete(old);
      size -= freed;
    }
  }

  /**
   * Keep pages longer than others: those that are shown.
   * @param {Iterable<number>} numbers
   */
  touch(numbers) {
    for (const number of numbers) {
      const page = this.held.get(number);
      if (!page) continue;
      this.held.delete(number);
      this.held.set(number, page);
    }
  }
}

/** @param {Part} last @param {Part} next */
function joins(last, next) {
  return last.stream === next.stream && last.end === next.offset && last.bytes.length < 4096;
}

/** @param {Uint8Array} a @param {Uint8Array} b */
function joined(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
