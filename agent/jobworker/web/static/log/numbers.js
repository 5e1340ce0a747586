/** Number the lines that are shown: the agent knows the number of one of them, the others follow from it. */

const PAUSE_MS = 150; // that the rows must stand still before the agent is asked
const MAX_CALLS = 120; // of half a second, in which the agent counts the lines before

/** @typedef {import("./rows.js").Row} Row */

export class Numbers {
  /**
   * @param {(params: {around: number, count: number}) => Promise<any>} lines  calls `log.lines`
   * @param {() => void} onfound
   */
  constructor(lines, onfound) {
    this._lines = lines;
    this._onfound = onfound;
    /** @type {{offset: number, line: number} | null} a row that begins there is of this line */
    this._known = null;
    this._asking = false;
    this._timer = 0;
    this._failed = false;
  }

  close() {
    clearTimeout(this._timer);
    this._failed = true;
  }

  /** Forget what is known, as for another log. */
  forget() {
    this._known = null;
  }

  /**
   * Return the number of the line of each row, null if it is not known yet; then it is asked for.
   * @param {Row[]} rows  that follow each other
   * @returns {(number | null)[]}
   */
  of(rows) {
    const at = this._known ? rows.findIndex(({ from }) => from === this._known?.offset) : -1;
    if (at < 0 || !this._known) {
      if (rows.length) this._ask(rows[rows.length >> 1].from);
      return rows.map(() => null);
    }
    const numbers = rows.map(() => 0);
    numbers[at] = this._known.line;
    for (let n = at + 1; n < rows.length; n++) numbers[n] = numbers[n - 1] + Number(rows[n - 1].ended);
    for (let n = at - 1; n >= 0; n--) numbers[n] = numbers[n + 1] - Number(rows[n].ended);
    const middle = rows.length >> 1;
    this._known = { offset: rows[middle].from, line: numbers[middle] };
    return numbers;
  }

  /** @param {number} offset */
  _ask(offset) {
    clearTimeout(this._timer);
    if (this._asking || this._failed) return;
    this._timer = window.setTimeout(() => this._find(offset), PAUSE_MS);
  }

  /** @param {number} offset */
  async _find(offset) {
    this._asking = true;
    try {
      for (let call = 0; call < MAX_CALLS && !this._failed; call++) {
        const answer = await this._lines({ around: offset, count: 1 });
        const [line] = answer.lines;
        if (answer.complete && line) this._known = { offset, line: line.line };
        if (answer.complete) break;
      }
    } catch {
      // The agent cannot be reached, or lacks the method: the rows have no numbers, and are asked for when they move.
      this._known = null;
    } finally {
      this._asking = false;
    }
    if (!this._failed && this._known) this._onfound();
  }
}
