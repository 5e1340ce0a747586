/** The log of a job: mount it into an element. See place.js for what links have. */

import { Calls } from "./calls.js";
import { styleBefore } from "./colours.js";
import { Finder } from "./finder.js";
import { Follow } from "./follow.js";
import { onKey } from "./keys.js";
import { Numbers } from "./numbers.js";
import { LogPages } from "./pages.js";
import { copied, make, rowElement } from "./paint.js";
import { EXPECTED, lineOffset, positionOf, timeOffset } from "./place.js";
import { BLOCK_BYTES, LINE_BYTES } from "./rows.js";
import { Saving } from "./saving.js";
import { Status } from "./status.js";
import { Toolbar } from "./toolbar.js";
import { Viewport } from "./viewport.js";

export { optionsOf, paramsOf } from "./place.js";

/** @typedef {import("./place.js").Position} Position */
/** @typedef {import("./rows.js").Row} Row */
/**
 * @typedef {object} Options
 * @property {Position} [position]  by default the end of a running job's log, and the start of another one
 * @property {string[] | null} [streams]  only these
 * @property {string} [query]
 * @property {boolean} [regex]
 * @property {boolean} [case]
 * @property {boolean} [searches]  false: the caller may not call `log.search`
 * @property {boolean} [numbers]  false: nor `log.lines`
 * @property {string} [name]  of the file that a download makes
 * @property {(place: import("./place.js").Place) => void} [onchange]  called when what is shown is another place
 */

const CHANGE_MS = 400; // after a move: `onchange`
const CONTEXT = 0.25; // of the height, above a place that is gone to

/**
 * Show the log of a job in an element.
 * @param {HTMLElement} element
 * @param {any} agent  of client/jobworker.js
 * @param {string} jobId
 * @param {Options} [options]
 */
export function mountLog(element, agent, jobId, options = {}) {
  return new LogView(element, agent, jobId, options);
}

class LogView {
  /**
   * @param {HTMLElement} element
   * @param {any} agent
   * @param {string} id
   * @param {Options} options
   */
  constructor(element, agent, id, options) {
    this._agent = agent;
    this._id = id;
    this._options = options;
    this._look = { wrap: false, times: false, numbers: options.numbers !== false };
    this._streams = options.streams ?? null;
    this._live = true; // until the log has its end
    /** @type {number | null} the offset of a place that was gone to */
    this._target = null;
    /** @type {Map<number, number>} by row: how many of its bytes are shown, if more than at first */
    this._limits = new Map();
    this._reported = "";
    this._timer = 0;
    this._closed = false;

    this._calls = new Calls(agent, id);
    this._pages = this._newPages();
    this.viewport = new Viewport(this._pages, {
      paint: (row) => this._paint(row),
      key: (row) => this._key(row),
      limit: (row) => this._limit(row),
      onrender: () => this._onRender(),
      onscroll: (towards) => this._onScroll(towards),
    });
    this._numbers = new Numbers((params) => this._calls.call("log.lines", params), () => this.viewport.refresh());
    this._finder = new Finder((params) => this._calls.call("log.search", params), this);
    this._toolbar = new Toolbar({
      follow: () => this.follow(!this.following),
      start: () => this.goto("start"),
      end: () => this.goto("end"),
      go: (unit, text) => this._go(unit, text),
      streams: (streams) => this._setStreams(streams),
      toggle: (name, on) => this._toggle(name, on),
      download: () => this._saving.toggle(this._streams),
      search: (pattern, how) => this.search(pattern, how),
      step: (towards) => this._finder.step(towards),
      leave: () => this.viewport.scroller.focus(),
    });
    this._toolbar.limit({ searches: options.searches !== false, numbers: this._look.numbers });
    this._status = new Status(() => this._pages.retry());
    this._saving = new Saving((params) => this._calls.call("log.read", params), options.name ?? id, {
      onprogress: (share) => this._toolbar.showDownload(share),
      onsaved: (text) => this._status.announce(text),
      onerror: (error) => this._failed(error),
    });

    this.element = make("div", `log-view${this._look.numbers ? " log-numbers" : ""}`);
    const body = make("div", "log-body");
    body.append(this.viewport.scroller, this._finder.marks.canvas);
    this.element.append(this._toolbar.element, this._status.alert, body, this._status.line, this._status.announcer);
    element.append(this.element);
    this._listen();
    this._follow = this._newFollow();
    this._open();
  }

  get following() {
    return this._live && this.viewport.stuck;
  }

  get pages() {
    return this._pages;
  }

  get finder() {
    return this._finder;
  }

  get toolbar() {
    return this._toolbar;
  }

  /** End everything, and take the view out of the document. */
  close() {
    this._closed = true;
    clearTimeout(this._timer);
    this._agent.removeEventListener?.("state", this._onState);
    const { viewport, _pages, _follow, _numbers, _finder, _saving, _status } = this;
    for (const part of [_follow, _pages, viewport, _numbers, _finder, _saving, _status]) part.close();
    this.element.remove();
  }

  /**
   * Go to a place.
   * @param {Position} position
   */
  async goto(position) {
    this._target = null;
    if (position === "end") {
      this.follow(true);
    } else if (position === "start") {
      this.viewport.show(0);
    } else if (position.offset !== undefined) {
      this._mark(position.offset);
    } else if (position.line !== undefined) {
      await this._attempt(async () => this._mark(await lineOffset((...call) => this._calls.call(...call), position.line ?? 1)));
    } else if (position.time !== undefined) {
      await this._attempt(async () => this._mark(await timeOffset(this._agent, this._id, position.time ?? "")));
    }
  }

  /**
   * Go to what a link has.
   * @param {Options} options
   */
  open({ position, streams = null, query = "", regex, case: same }) {
    if (JSON.stringify(streams) !== JSON.stringify(this._streams)) this._setStreams(streams);
    if (query !== this._finder.query.pattern) this.search(query, { regex, case: same, stay: position !== undefined });
    if (position !== undefined) this.goto(position);
  }

  /**
   * Follow the log, or pause.
   * @param {boolean} on
   */
  follow(on) {
    if (on) {
      this.viewport.stick();
      this._follow.hurry();
    } else {
      this.viewport.stuck = false;
      this.viewport.refresh();
    }
    if (this._live) this._status.announce(on ? "following the output" : "paused");
  }

  /**
   * Search the log; an empty text ends that.
   * @param {string} pattern
   * @param {{regex?: boolean, case?: boolean, stay?: boolean}} [how]  `stay`: do not go to the first match
   */
  search(pattern, { regex = false, case: same = true, stay = false } = {}) {
    const query = { pattern, regex, case: same, streams: this._streams };
    this._toolbar.searchbar.show(query);
    this._finder.search(query, stay);
    this._changed();
  }

  /**
   * Go to an offset, and mark its row.
   * @param {number} offset
   */
  _mark(offset) {
    this._target = offset;
    this.viewport.show(offset, CONTEXT);
  }

  /**
   * Show a match.
   * @param {number} offset
   */
  showMatch(offset) {
    const [first, last] = this.visible();
    if (offset >= first && offset < last && !this.viewport.stuck) this.viewport.refresh();
    else this.viewport.show(offset, CONTEXT);
  }

  /** Return the offsets between which rows are seen. */
  visible() {
    const { offset, seen } = this.viewport;
    return [offset, offset + seen];
  }

  // How it begins

  async _open() {
    const { position, query = "", regex, case: same } = this._options;
    const given = position !== undefined || query !== "";
    if (position && typeof position === "object") this.goto(position);
    await this._attempt(async () => {
      const [, job] = await Promise.all([this._pages.read(0, 1), given ? null : this._calls.call("job.status", {})]);
      if (this._closed) return;
      const running = job && job.state !== "exited" && job.state !== "lost";
      if (typeof position !== "object" && (position ?? (running ? "end" : "start")) === "end") this.follow(true);
    });
    if (this._closed) return;
    if (query) this.search(query, { regex, case: same, stay: position !== undefined });
    this.viewport.refresh();
    this._follow.run();
  }

  _newPages() {
    return new LogPages((params) => this._calls.call("log.read", params), {
      streams: this._streams,
      arrivals: this._look.times,
      onload: () => {
        this._status.error(null);
        this.viewport.refresh();
      },
      onerror: (error) => this._failed(error),
    });
  }

  _newFollow() {
    return new Follow(this._agent, this._id, this._pages, {
      eager: () => this.viewport.stuck,
      ongrow: () => this.viewport.refresh(),
      onend: () => {
        this._live = false;
        this._status.announce("the output is complete");
        this.viewport.refresh();
      },
    });
  }

  /** Read everything again, as for other streams; the place stays. */
  _renew() {
    const { end, first } = this._pages;
    this._pages.close();
    this._follow.close();
    this._pages = this.viewport.pages = this._newPages();
    this._pages.end = end;
    this._pages.first = first;
    this._pages.known = true;
    this._follow = this._newFollow();
    this._follow.run();
    this._numbers.forget();
    this.viewport.refresh();
  }

  _listen() {
    const { scroller, pane } = this.viewport;
    scroller.addEventListener("keydown", (event) => onKey(event, this));
    pane.addEventListener("click", (event) => this._onClick(/** @type {Element} */ (event.target)));
    pane.addEventListener("copy", (event) => {
      const selection = document.getSelection();
      const text = selection && copied(selection, this.viewport.rows);
      if (text === null || !event.clipboardData) return;
      event.clipboardData.setData("text/plain", text);
      event.preventDefault();
    });
    this._onState = () => {
      if (this._agent.state === "connected") this._pages.retry();
    };
    this._agent.addEventListener?.("state", this._onState);
  }

  // Rows

  /** @param {Row} row */
  _limit(row) {
    return this._limits.get(row.from) ?? LINE_BYTES;
  }

  /** @param {Row} row */
  _key(row) {
    const hits = this._finder.key(row);
    return `${row.from} ${row.to} ${row.begins ? "" : "m"} ${row.size} ${this._limit(row)} ${hits}`;
  }

  /** @param {Row} row */
  _paint(row) {
    const hits = this._finder.within(row);
    return rowElement(row, { style: styleBefore(this._pages, row), hits, limit: this._limit(row) });
  }

  _onRender() {
    const { rows, offset } = this.viewport;
    const list = [...rows.values()];
    const numbered = this._look.numbers && !this._streams;
    const numbers = numbered ? this._numbers.of(list) : [];
    let [index, shown] = [0, /** @type {number | null} */ (null)];
    for (const [element, row] of rows) {
      const line = numbers[index++] ?? null;
      if (row.from === offset) shown = line;
      const text = line !== null && row.begins && row.gap === null ? String(line) : "";
      const cell = element.firstElementChild;
      if (row.gap === null && cell && cell.textContent !== text) cell.textContent = text;
      const target = this._target !== null && row.from <= this._target && this._target < row.to;
      element.classList.toggle("log-target", target);
      element.classList.toggle("log-current", this._finder.isCurrent(row));
    }
    this._status.show({ pages: this._pages, offset, line: shown, live: this._live, empty: !list.length });
    this._toolbar.show({ following: this.following, live: this._live, streams: this._streams, ...this._look });
    this._finder.onRender();
    clearTimeout(this._timer);
    this._timer = window.setTimeout(() => this._changed(), CHANGE_MS);
  }

  _changed() {
    const { onchange } = this._options;
    if (!onchange || this._closed) return;
    const { pattern, regex, case: same } = this._finder.query;
    const offset = this.viewport.stuck ? null : (this._target ?? this.viewport.offset);
    const place = { offset, follow: this.following, streams: this._streams, query: pattern, regex, case: same };
    const text = JSON.stringify(place);
    if (text === this._reported) return;
    this._reported = text;
    onchange(place);
  }

  // What the user does

  /** @param {number} towards */
  _onScroll(towards) {
    if (towards) this._target = null;
    if (towards > 0 && this.viewport.atEnd && this._live && !this.viewport.stuck) this.follow(true);
  }

  /** @param {Element} clicked */
  _onClick(clicked) {
    const element = clicked.closest(".log-row");
    const row = element && this.viewport.rows.get(element);
    if (!row) return;
    if (clicked.classList.contains("log-more")) {
      this._limits.set(row.from, Math.min(this._limit(row) + LINE_BYTES, BLOCK_BYTES + LINE_BYTES));
      this.viewport.refresh();
    } else if (clicked.classList.contains("log-number")) {
      this.viewport.stuck = false;
      this._target = row.from;
      this.viewport.refresh();
    }
  }

  /** @param {"wrap" | "times" | "numbers"} name @param {boolean} on */
  _toggle(name, on) {
    this._look[name] = on;
    this.viewport.wrap = this._look.wrap;
    this.element.classList.toggle(`log-${name}`, on);
    if (name === "times") this._renew();
    this.viewport.refresh();
  }

  /** Turn a way of looking on or off. @param {"wrap" | "times" | "numbers"} name */
  toggle(name) {
    this._toggle(name, !this._look[name]);
  }

  /** @param {string[] | null} streams */
  _setStreams(streams) {
    this._streams = streams;
    this._renew();
    const { pattern, regex, case: same } = this._finder.query;
    if (pattern) this.search(pattern, { regex, case: same, stay: true });
  }

  /** @param {import("./toolbar.js").Unit} unit @param {string} text */
  _go(unit, text) {
    const position = positionOf(unit, text);
    if (position === null) {
      this._status.error({ message: `${text || "nothing"} is no place: expected ${EXPECTED[unit]}` });
      return;
    }
    this._status.error(null);
    this.goto(position);
  }

  /** @param {() => Promise<void>} action */
  async _attempt(action) {
    try {
      await action();
    } catch (error) {
      if (!this._closed) this._failed(error);
    }
  }

  /** @param {any} error */
  _failed(error) {
    if (typeof error?.data?.end === "number") {
      // A link beyond the end of the log.
      this._pages.grow(error.data.end);
      this._pages.failed = false;
      this.viewport.show(error.data.end);
      return;
    }
    this._status.error(error);
  }
}
