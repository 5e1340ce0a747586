/**
 * Find a text or an expression in the whole log, by `log.search`: every match is counted, the first ones are kept, and
 * of the others one for each part of the log, as many as a scrollbar has pixels. No document here.
 */

/**
 * @typedef {{offset: number, length: number, stream: string, line: number}} Match
 * @typedef {{pattern: string, regex: boolean, case: boolean, streams: string[] | null}} Query
 * @typedef {(params: Record<string, any>) => Promise<any>} Call  calls `log.search`
 */

const KEPT_MATCHES = 10_000; // beyond these, matches are only counted
const FIRST_LIMIT = 200; // of the first answer, which should come at once
const LIMIT = 2000; // matches in one answer
const NEAR_MATCHES = 2000; // looked up at once for what is shown
const FIRST_STEP = 64 << 10; // bytes to go back for the match before, and 16 times more each time
const PLACES = 600; // parts of the log, of which is known whether there are matches that are only counted

export class Search {
  /**
   * @param {Call} call
   * @param {Query} query
   * @param {{onchange: () => void}} hooks
   */
  constructor(call, query, { onchange }) {
    this.query = query;
    this.count = 0;
    this.complete = false;
    /** @type {any} */
    this.error = null;
    this.position = 0; // up to where it has searched
    this.end = 0; // of the log
    /** @type {Match[]} in the order of their offsets, all up to `keptTo` */
    this.matches = [];
    this.keptTo = 0;
    /** @type {number[]} offsets of matches that are only counted: the first one of each part of the log */
    this.marks = [];
    this._marked = 0; // up to where there are marks
    this._call = call;
    this._onchange = onchange;
    this._closed = false;
    this._running = false;
    /** @type {{from: number, to: number, matches: Match[]} | null} */
    this._near = null;
    this._looking = false;
  }

  close() {
    this._closed = true;
  }

  /** Search on to the end of the log as it is now. */
  async run() {
    if (this._running) return;
    this._running = true;
    this.complete = false;
    try {
      while (!this._closed && !this.complete) await this._step();
      await this._mark();
    } catch (error) {
      this.error = error;
    }
    this._running = false;
    if (!this._closed) this._onchange();
  }

  async _step() {
    const kept = this.matches.length;
    const room = Math.max(0, KEPT_MATCHES - kept);
    const limit = Math.min(room, kept ? LIMIT : FIRST_LIMIT);
    const from = this.position;
    const answer = await this._search({ from, limit, excerpt: 1 });
    if (this._closed) return;
    this.error = null;
    const known = this.matches[kept - 1]?.offset ?? -1; // what the last line of a running job had comes again
    const fresh = answer.matches.filter((/** @type {Match} */ match) => match.offset > known);
    if (limit) {
      for (const { offset, length, stream, line } of fresh) this.matches.push({ offset, length, stream, line });
      this.count += fresh.length;
      this.keptTo = answer.next;
    } else if (answer.next > from) {
      this.count += answer.count;
    }
    this.position = answer.next;
    this.end = answer.end;
    this.complete = answer.complete;
    this._onchange();
  }

  /** Find one match in each part of the log whose matches are only counted. */
  async _mark() {
    if (!this.beyond) return;
    const size = Math.max(1, Math.ceil(this.end / PLACES));
    for (let from = Math.max(this._marked, this.keptTo); !this._closed && from < this.end; this._marked = from) {
      const answer = await this._search({ from, limit: 1, excerpt: 1 });
      const [match] = answer.matches;
      if (match) this.marks.push(match.offset);
      from = match ? (Math.floor(match.offset / size) + 1) * size : answer.complete ? this.end : answer.next;
      if (this.marks.length % 50 === 0) this._onchange();
    }
  }

  /** Whether there are matches that are only counted. */
  get beyond() {
    return this.count > this.matches.length;
  }

  /** @param {{from: number, limit: number, excerpt: number}} params */
  _search(params) {
    const { pattern, regex, case: same, streams } = this.query;
    return this._call({ pattern, regex, case: same, ...(streams ? { streams } : {}), ...params });
  }

  /**
   * Return the first match from an offset on, else the first of all; null if there is none.
   * @param {number} offset
   * @returns {Promise<Match | null>}
   */
  async next(offset) {
    const kept = this.matches[this._index(offset)];
    if (kept) return kept;
    for (let from = Math.max(offset, this.keptTo); !this._closed; ) {
      const answer = await this._search({ from, limit: 1, excerpt: 1 });
      if (answer.matches.length) return answer.matches[0];
      if (answer.complete) break;
      from = answer.next;
    }
    return this.matches[0] ?? null;
  }

  /**
   * Return the last match before an offset, else the last of all; null if there is none.
   * @param {number} offset
   * @returns {Promise<Match | null>}
   */
  async previous(offset) {
    return (await this._before(offset)) ?? (await this._before(Infinity));
  }

  /**
   * @param {number} offset
   * @returns {Promise<Match | null>}
   */
  async _before(offset) {
    const kept = this.matches[this._index(offset) - 1] ?? null;
    if (offset <= this.keptTo || (this.complete && !this.beyond)) return kept;
    let end = Math.min(offset, this.position || offset);
    for (let step = FIRST_STEP; !this._closed; step *= 16) {
      const start = Math.max(this.keptTo, end - step);
      const last = await this._last(start, end);
      if (last || start <= this.keptTo) return last ?? kept;
      end = start;
    }
    return null;
  }

  /**
   * Return the last match between two offsets. If there are many, it is rather in the second half of what is left.
   * @param {number} from
   * @param {number} to
   * @returns {Promise<Match | null>}
   */
  async _last(from, to) {
    let last = null;
    while (from < to && !this._closed) {
      const answer = await this._search({ from, limit: LIMIT, excerpt: 1 });
      const inside = answer.matches.filter((/** @type {Match} */ { offset }) => offset < to);
      last = inside.at(-1) ?? last;
      from = answer.next;
      if (answer.complete || inside.length < answer.matches.length) break;
      if (inside.length < LIMIT) continue;
      const middle = Math.floor((from + to) / 2);
      const later = await this._last(middle, to);
      if (later) return later;
      to = middle;
    }
    return last;
  }

  /**
   * Return the matches that touch a range, as far as they are known; others are looked up, then `onchange` is called.
   * @param {number} from
   * @param {number} to
   * @returns {Match[]}
   */
  within(from, to) {
    const found = [];
    for (let at = Math.max(0, this._index(from) - 1); at < this.matches.length; at++) {
      const match = this.matches[at];
      if (match.offset >= to) break;
      if (match.offset + match.length > from) found.push(match);
    }
    if (to <= this.keptTo || (this.complete && !this.beyond)) return found;
    if (this._near && this._near.from <= from && to <= this._near.to) {
      return this._near.matches.filter(({ offset, length }) => offset < to && offset + length > from);
    }
    return found;
  }

  /**
   * Look up the matches in a range that is shown, if they are not kept.
   * @param {number} from
   * @param {number} to
   */
  async look(from, to) {
    if (to <= this.keptTo || (this.complete && !this.beyond) || this._looking) return;
    if (this._near && this._near.from <= from && to <= this._near.to) return;
    this._looking = true;
    try {
      const answer = await this._search({ from, limit: NEAR_MATCHES, excerpt: 1 });
      if (this._closed) return;
      const full = answer.matches.length >= NEAR_MATCHES;
      this._near = { from, to: full ? Math.max(answer.next, to) : Math.max(to, answer.next), matches: answer.matches };
      this._onchange();
    } catch {
      // The marks in the text are missing; the search itself shows what is wrong.
    } finally {
      this._looking = false;
    }
  }

  /**
   * Return the number of a match, counted from 1; null if it is not known.
   * @param {Match} match
   */
  rank(match) {
    const at = this._index(match.offset);
    return this.matches[at]?.offset === match.offset ? at + 1 : null;
  }

  /**
   * Return the index of the first match from an offset on.
   * @param {number} offset
   */
  _index(offset) {
    let [low, high] = [0, this.matches.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.matches[middle].offset < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
