/** The log of a job: mount it into an element. See place.js for what links have. */

import { Calls } from "./calls.js";
import { Finder } from "./finder.js";
import { onClick, onKey } from "./input.js";
import { Lines } from "./lines.js";
import { Numbers } from "./numbers.js";
import { copy, make } from "./paint.js";
import { EXPECTED, offsetOf, positionOf } from "./place.js";
import { Report } from "./report.js";
import { Saving } from "./saving.js";
import { Source } from "./source.js";
import { Status } from "./status.js";
import { Toolbar } from "./toolbar.js";
import { Viewport } from "./viewport.js";

export { optionsOf, paramsOf } from "./place.js";

/** @typedef {import("./place.js").Position} Position */
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
    this._closed = false;

    this._calls = new Calls(agent, id);
    /** @type {Source} */
    this._source = new Source(agent, id, this._calls, options.streams ?? null, {
      eager: () => this.viewport.stuck,
      onload: () => {
        this._status.error(null);
        this.viewport.refresh();
      },
      ongrow: () => this.viewport.refresh(),
      onend: () => {
        this._status.announce("the output is complete");
        this.viewport.refresh();
      },
      onerror: (error) => this._failed(error),
    });
    /** @type {Viewport} */
    this.viewport = new Viewport(this.pages, {
      paint: (row) => this.lines.paint(row, this.pages),
      key: (row) => this.lines.key(row),
      limit: (row) => this.lines.limit(row),
      onrender: () => this._onRender(),
      onscroll: (towards) => this._onScroll(towards),
    });
    this._numbers = new Numbers((params) => this._calls.call("log.lines", params), () => this.viewport.refresh());
    this.finder = new Finder((params) => this._calls.call("log.search", params), this);
    this.lines = new Lines(this.finder, this._numbers);
    this.lines.numbered = this._look.numbers;
    this.toolbar = new Toolbar({
      follow: () => this.follow(!this.following),
      start: () => this.goto("start"),
      end: () => this.goto("end"),
      go: (unit, text) => this._go(unit, text),
      streams: (streams) => this._setStreams(streams),
      toggle: (name, on) => this._toggle(name, on),
      download: () => this._saving.toggle(this._source.streams),
      search: (pattern, how) => this.search(pattern, how),
      step: (towards) => this.finder.step(towards),
      leave: () => this.viewport.pane.focus({ preventScroll: true }),
    });
    this.toolbar.limit({ searches: options.searches !== false, numbers: this._look.numbers });
    this._status = new Status(() => this.pages.retry());
    this._report = new Report(options.onchange, () => this._place());
    this._saving = new Saving((params) => this._calls.call("log.read", params), options.name ?? id, {
      onprogress: (share) => this.toolbar.showDownload(share),
      onsaved: (text) => this._status.announce(text),
      onerror: (error) => this._failed(error),
    });

    this.element = make("div", `log-view${this._look.numbers ? " log-numbers" : ""}`);
    const body = make("div", "log-body");
    body.append(this.viewport.scroller, this.finder.marks.canvas);
    this.element.append(this.toolbar.element, this._status.alert, body, this._status.line, this._status.announcer);
    element.append(this.element);
    this._listen();
    this._open();
  }

  get following() {
    return this._source.live && this.viewport.stuck;
  }

  get pages() {
    return this._source.pages;
  }

  /** End everything, and take the view out of the document. */
  close() {
    this._closed = true;
    this._agent.removeEventListener?.("state", this._onState);
    const { viewport, _source, _numbers, finder, _saving, _status, _report } = this;
    for (const part of [_source, viewport, _numbers, finder, _saving, _status, _report]) part.close();
    this.element.remove();
  }

  /**
   * Go to a place.
   * @param {Position} position
   */
  async goto(position) {
    this.lines.target = null;
    if (position === "end") {
      this.follow(true);
    } else if (position === "start") {
      this.viewport.show(0);
    } else if (position.offset !== undefined) {
      this._mark(position.offset);
    } else {
      await this._attempt(async () => this._mark(await offsetOf(position, this._agent, this._id, this._calls)));
    }
  }

  /**
   * Go to what a link has.
   * @param {Options} options
   */
  open({ position, streams = null, query = "", regex, case: same }) {
    if (JSON.stringify(streams) !== JSON.stringify(this._source.streams)) this._setStreams(streams);
    if (query !== this.finder.query.pattern) this.search(query, { regex, case: same, stay: position !== undefined });
    if (position !== undefined) this.goto(position);
  }

  /**
   * Follow the log, or pause.
   * @param {boolean} on
   */
  follow(on) {
    if (on) {
      this.viewport.stick();
      this._source.hurry();
    } else {
      this.viewport.stuck = false;
      this.viewport.refresh();
    }
    if (this._source.live) this._status.announce(on ? "following the output" : "paused");
  }

  /**
   * Search the log; an empty text ends that.
   * @param {string} pattern
   * @param {{regex?: boolean, case?: boolean, stay?: boolean}} [how]  `stay`: do not go to the first match
   */
  search(pattern, { regex = false, case: same = true, stay = false } = {}) {
    if (this._options.searches === false) return;
    const query = { pattern, regex, case: same, streams: this._source.streams };
    this.toolbar.searchbar.show(query);
    this.finder.search(query, stay);
    this._report.now();
  }

  /**
   * Go to an offset, and mark its row.
   * @param {number} offset
   */
  _mark(offset) {
    this.lines.target = offset;
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
      const [, job] = await Promise.all([this.pages.read(0, 1), given ? null : this._calls.call("job.status", {})]);
      if (this._closed) return;
      const running = job && job.state !== "exited" && job.state !== "lost";
      if (typeof position !== "object" && (position ?? (running ? "end" : "start")) === "end") this.follow(true);
    });
    if (this._closed) return;
    if (query) this.search(query, { regex, case: same, stay: position !== undefined });
    this.viewport.refresh();
    this._source.run();
  }

  /**
   * Read everything again; the place stays.
   * @param {{streams?: string[] | null, arrivals?: boolean}} how
   */
  _renew(how) {
    this._source.renew(how);
    this.viewport.pages = this.pages;
    this.viewport.refresh();
  }

  _listen() {
    const { pane } = this.viewport;
    pane.addEventListener("keydown", (event) => onKey(event, this));
    pane.addEventListener("click", (event) => onClick(/** @type {Element} */ (event.target), this));
    pane.addEventListener("copy", (event) => copy(event, this.viewport.rows));
    this._onState = () => {
      if (this._agent.state !== "connected") return;
      this._numbers.forget();
      this.pages.retry();
    };
    this._agent.addEventListener?.("state", this._onState);
  }

  _onRender() {
    const { rows, offset } = this.viewport;
    const line = this.lines.mark(rows, offset);
    const { live, streams } = this._source;
    this._status.show({ pages: this.pages, offset, line, live, empty: !rows.size });
    this.toolbar.show({ following: this.following, live, streams, ...this._look });
    this.finder.onRender();
    this._report.later();
  }

  /** @returns {import("./place.js").Place} */
  _place() {
    const { pattern, regex, case: same } = this.finder.query;
    const offset = this.viewport.stuck ? null : (this.lines.target ?? this.viewport.offset);
    return { offset, follow: this.following, streams: this._source.streams, query: pattern, regex, case: same };
  }

  // What the user does

  /** @param {number} towards */
  _onScroll(towards) {
    if (towards) this.lines.target = null;
    if (towards > 0 && this.viewport.atEnd && this._source.live && !this.viewport.stuck) this.follow(true);
  }

  /** @param {"wrap" | "times" | "numbers"} name @param {boolean} on */
  _toggle(name, on) {
    this._look[name] = on;
    this.viewport.wrap = this._look.wrap;
    this.element.classList.toggle(`log-${name}`, on);
    this.lines.numbered = this._look.numbers;
    if (name === "times") this._renew({ arrivals: on });
    this.viewport.refresh();
  }

  /** Turn a way of looking on or off. @param {"wrap" | "times" | "numbers"} name */
  toggle(name) {
    this._toggle(name, !this._look[name]);
  }

  /** @param {string[] | null} streams */
  _setStreams(streams) {
    this._renew({ streams });
    const { pattern, regex, case: same } = this.finder.query;
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
      this.pages.grow(error.data.end);
      this.pages.failed = false;
      this.viewport.show(error.data.end);
      return;
    }
    this._status.error(error);
  }
}
