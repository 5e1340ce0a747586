/** Search in the view: which match is shown, how many there are, and marks in the rows and beside the scrollbar. */

import { Marks } from "./marks.js";
import { counted } from "./paint.js";
import { Search } from "./search.js";

/** @typedef {import("./search.js").Match} Match */
/** @typedef {import("./search.js").Query} Query */
/** @typedef {import("./rows.js").Row} Row */

const AGAIN_MS = 1000; // between two searches in a log that grows

export class Finder {
  /**
   * @param {import("./search.js").Call} call
   * @param {any} view  a log view
   */
  constructor(call, view) {
    this._call = call;
    this._view = view;
    /** @type {Query} */
    this.query = { pattern: "", regex: false, case: true, streams: null };
    /** @type {Search | null} */
    this._search = null;
    /** @type {Match | null} */
    this._current = null;
    this._stay = false;
    this._timer = 0;
    this._drawn = "";
    this.marks = new Marks((share) => {
      const { first, end } = view.pages;
      view.viewport.show(first + Math.floor(share * (end - first)), 0.5);
    });
  }

  close() {
    clearTimeout(this._timer);
    this._search?.close();
  }

  /**
   * @param {Query} query
   * @param {boolean} stay  do not go to the first match
   */
  search(query, stay) {
    this.close();
    this.query = query;
    this._current = null;
    this._stay = stay;
    this._search = query.pattern ? new Search(this._call, query, { onchange: () => this._onChange() }) : null;
    this._search?.run();
    this._show();
    this._view.viewport.refresh();
  }

  /**
   * Go to the next match, or to the one before.
   * @param {1 | -1} towards
   */
  async step(towards) {
    const search = this._search;
    if (!search) return;
    const [first, last] = this._view.visible();
    const at = this._current?.offset ?? -1;
    const from = at >= first && at < last ? at : towards > 0 ? first - 1 : last;
    try {
      const match = towards > 0 ? await search.next(from + 1) : await search.previous(from);
      if (match && search === this._search) this._goto(match);
    } catch (error) {
      search.error = error;
    }
    this._show();
  }

  /** @param {Match} match */
  _goto(match) {
    this._current = match;
    this._stay = true;
    this._view.showMatch(match.offset);
    this._show();
  }

  _onChange() {
    const search = this._search;
    if (!search) return;
    const [first] = this._view.visible();
    if (!this._stay && search.matches.length) {
      // The first match from what is seen on, without waiting for the rest of the log.
      const match = search.matches.find(({ offset }) => offset >= first) ?? (search.complete ? search.matches[0] : null);
      if (match) this._goto(match);
      else if (search.keptTo > first && search.complete) this._goto(search.matches[0]);
    }
    this._show();
    this._view.viewport.refresh();
  }

  _show() {
    const found = this._view.toolbar.searchbar.found;
    const text = this._text();
    if (found.textContent !== text) found.textContent = text;
    found.classList.toggle("log-wrong", Boolean(this._search?.error));
  }

  _text() {
    const search = this._search;
    if (!search) return "";
    if (search.error) return search.error.message ?? String(search.error);
    const share = search.end ? Math.floor((search.position / search.end) * 100) : 0;
    const rank = this._current && search.rank(this._current);
    const count = counted(search.count);
    if (!search.complete) return `${rank ? `${counted(rank)} of ` : ""}${count} so far, ${share} % searched`;
    if (!search.count) return "no matches";
    return rank ? `${counted(rank)} of ${count}` : `${count} ${search.count === 1 ? "match" : "matches"}`;
  }

  /** The view has been drawn: search what the log has grown by, and draw the marks. */
  onRender() {
    const search = this._search;
    const { pages } = this._view;
    const [first, last] = this._view.visible();
    if (search) {
      search.look(first, last);
      if (search.complete && !search.error && pages.end > search.end) {
        clearTimeout(this._timer);
        this._timer = window.setTimeout(() => search.run(), AGAIN_MS);
      }
    }
    const at = this._current?.offset ?? null;
    const height = this.marks.canvas.clientHeight;
    const drawn = [search?.matches.length, search?.marks.length, pages.first, pages.end, at, height].join(" ");
    if (drawn !== this._drawn) this.marks.draw(search, pages.first, pages.end, at);
    this._drawn = drawn;
  }

  /**
   * Return the offsets to mark in a row.
   * @param {Row} row
   * @returns {[number, number][]}
   */
  within(row) {
    if (!this._search || row.gap !== null) return [];
    const matches = this._search.within(row.from, row.to).filter(({ stream }) => stream === row.stream);
    return matches.map(({ offset, length }) => [offset, offset + length]);
  }

  /**
   * Return a text that is another one if other bytes of a row are marked.
   * @param {Row} row
   */
  key(row) {
    if (!this._search) return "";
    return this.within(row).join(" ");
  }

  /** @param {Row} row */
  isCurrent(row) {
    const offset = this._current?.offset ?? -1;
    return row.from <= offset && offset < row.to;
  }
}
