/**
 * Number the lines that are shown, as lines of the whole log, also when only one stream is shown: so a number means the
 * same line in every view, in a link, in a search and in `jw`. The agent knows the number of one row; those that follow
 * it without a byte in between follow from it.
 */

const PAUSE_MS = 150; // that the rows must stand still before the agent is asked
const MAX_CALLS = 120; // of half a second, in which the agent counts the lines before
const MAX_KNOWN = 20_000; // rows

/** @typedef {import("./rows.js").Row} Row */

export class Numbers {
  /**
   * @param {(params: {around: number, count: number}) => Promise<any>} lines  calls `log.lines`
   * @param {() => void} onfound
   */
  constructor(lines, onfound) {
    this._lines = lines;
    this._onfound = onfound;
    /** @type {Map<number, number>} the line of a row, by the offset at which that begins */
    this._known = new Map();
    /** @type {number[]} offsets of rows to ask for */
    this._wanted = [];
    this._asking = false;
    this._timer = 0;
    this._closed = false;
  }

  close() {
    clearTimeout(this._timer);
    this._closed = true;
  }

  /** Forget what is known: an agent that was restarted may count from another place of a bounded log. */
  forget() {
    this._known.clear();
  }

  /**
   * Return the number of the line of each row, null if it is not known yet; then it is asked for.
   * @param {Row[]} rows  in their order
   * @param {number} [first]  offset of the first row that is seen: numbers from there on are asked for first
   * @returns {(number | null)[]}
   */
  of(rows, first = 0) {
    const numbers = rows.map(({ from }) => this._known.get(from) ?? null);
    for (let n = 1; n < rows.length; n++) {
      const before = numbers[n - 1];
      if (before !== null && adjoin(rows[n - 1], rows[n])) numbers[n] ??= before + Number(rows[n - 1].ended);
    }
    for (let n = rows.length - 2; n >= 0; n--) {
      const after = numbers[n + 1];
      if (after !== null && adjoin(rows[n], rows[n + 1])) numbers[n] ??= after - Number(rows[n].ended);
    }
    if (this._known.size > MAX_KNOWN) this._known.clear();
    rows.forEach(({ from }, n) => {
      const line = numbers[n];
      if (line !== null) this._known.set(from, line);
    });
    // One of each run of rows that adjoin is enough.
    const asked = rows.filter((row, n) => numbers[n] === null && !(n && numbers[n - 1] === null && adjoin(rows[n - 1], row)));
    const [above, below] = [asked.filter(({ from }) => from < first), asked.filter(({ from }) => from >= first)];
    this._wanted = [...below, ...above.reverse()].map(({ from }) => from);
    if (this._wanted.length) this._ask();
    return numbers;
  }

  _ask() {
    clearTimeout(this._timer);
    if (this._asking || this._closed) return;
    this._timer = window.setTimeout(() => this._find(), PAUSE_MS);
  }

  async _find() {
    this._asking = true;
    try {
      for (let offset = this._wanted.shift(); offset !== undefined && !this._closed; offset = this._wanted.shift()) {
        if (this._known.has(offset)) continue;
        const line = await this._number(offset);
        if (line === null) continue;
        this._known.set(offset, line);
        this._onfound();
      }
    } catch {
      // The agent cannot be reached: the rows have no numbers, and are asked for when they move.
    } finally {
      this._asking = false;
    }
  }

  /** @param {number} offset @returns {Promise<number | null>} */
  async _number(offset) {
    for (let call = 0; call < MAX_CALLS && !this._closed; call++) {
      const answer = await this._lines({ around: offset, count: 1 });
      if (answer.complete) return answer.lines[0]?.line ?? null;
    }
    return null;
  }
}

/**
 * Whether the log has no byte between the begin of a row and that of the next one but those of the row: of one stream
 * only, there may be lines of the other one.
 * @param {Row} row
 * @param {Row} next
 */
function adjoin(row, next) {
  return row.to === next.from && (row.gap !== null || row.size + Number(row.ended) === row.to - row.from);
}
