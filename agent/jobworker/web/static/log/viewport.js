/**
 * Show the rows around a place, a frame at a time, beside a scrollbar that maps to the bytes of the log.
 *
 * The place is an anchor: the offset of a row, and how many pixels of it are above the top. A small move of the
 * scrollbar, the wheel and keys move by pixels; a large one goes to the offset that it maps to.
 */

import { PAGE_BYTES } from "./pages.js";
import { make } from "./paint.js";
import { Scale } from "./scale.js";
import { MAX_ROWS, rowsAround } from "./window.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./pages.js").LogPages} LogPages */

const OVERSCAN = 400; // pixels of rows above and below what is seen
const MOST_BEHIND_BYTES = 64 << 20; // of the end of a log that is followed
const NEAR_BYTES = 64 << 10; // of the end
const SETTLED_MS = 200; // after the last scroll event: the scrollbar is put to where the rows are
const MOST_MORE = 16; // times the rows that should do, if they are less high than expected

export class Viewport {
  /**
   * @param {LogPages} pages
   * @param {{paint: (row: Row) => HTMLElement, key: (row: Row) => string, limit: (row: Row) => number,
   *   onrender: () => void, onscroll: (towards: number) => void}} hooks  `key`: another one paints the row again;
   *   `onscroll`: the user moved up (-1), or down (1)
   */
  constructor(pages, hooks) {
    this.pages = pages;
    this.hooks = hooks;
    this.scroller = make("div", "log-scroller");
    this._spacer = this.scroller.appendChild(make("div", "log-spacer"));
    // It has the focus, as it also scrolls sideways.
    this.pane = this._spacer.appendChild(make("div", "log-pane"));
    this.pane.tabIndex = 0;
    this.pane.setAttribute("role", "region");
    this.pane.setAttribute("aria-label", "Output of the job");
    this._list = this.pane.appendChild(make("div", "log-rows"));
    this.offset = 0; // of the anchor
    this.shift = 0; // pixels of the anchor's row above the top
    this.stuck = false; // to the end, as far as the log goes
    this.wrap = false;
    this.atStart = false;
    this.atEnd = false;
    this.seen = 0; // bytes of the rows that are seen
    this.longestFrame = 0; // milliseconds, for the figures
    /** @type {Map<Element, Row>} in their order */
    this.rows = new Map();
    /** @type {Map<string, HTMLElement>} */
    this._elements = new Map();
    this._frame = 0;
    this._lineHeight = 18;
    this._columns = 80;
    this._perByte = 0.2;
    this._view = 0;
    this._height = 0; // of the spacer
    this._top = 0; // where the scrollbar was put, or moved to
    this._scrolled = -Infinity; // when the user moved it
    this._settle = 0;
    this._resized = new ResizeObserver(() => this._measure());
    this._resized.observe(this.scroller);
    this.scroller.addEventListener("scroll", () => this._onScroll());
    this.scroller.addEventListener("wheel", (event) => this._onWheel(event), { passive: false });
    this.pane.addEventListener("scroll", () => {
      if (this.pane.scrollTop) this.pane.scrollTop = 0;
    });
  }

  close() {
    this._resized.disconnect();
    cancelAnimationFrame(this._frame);
    clearTimeout(this._settle);
  }

  /** Show what is there now, in the next frame. */
  refresh() {
    if (!this._frame) this._frame = requestAnimationFrame(() => this._render());
  }

  /**
   * Go to an offset.
   * @param {number} offset
   * @param {number} [share]  of the height that is seen above it
   */
  show(offset, share = 0) {
    this.stuck = false;
    this.offset = offset;
    this.shift = -Math.floor((this._view || window.innerHeight / 2) * share);
    this.refresh();
  }

  /** Go to the end, and stay there. */
  stick() {
    this.stuck = true;
    this.refresh();
  }

  /**
   * Move by pixels.
   * @param {number} pixels
   */
  move(pixels) {
    if (pixels < 0) this.stuck = false;
    this.shift += pixels;
    this.hooks.onscroll(Math.sign(pixels));
    this.refresh();
  }

  /** The height of a line and of what is seen, in pixels. */
  get heights() {
    return { line: this._lineHeight, view: this._view };
  }

  _measure() {
    const probe = make("div", "log-row");
    const text = probe.appendChild(make("span", "log-text", "0"));
    this._list.append(probe);
    this._lineHeight = probe.offsetHeight || 18;
    const width = text.getBoundingClientRect().width || 8;
    probe.remove();
    this._view = this.scroller.clientHeight;
    this.pane.style.height = `${this._view}px`;
    this._columns = Math.max(10, Math.floor(this.scroller.clientWidth / width));
    this.refresh();
  }

  _render() {
    this._frame = 0;
    if (!this.scroller.isConnected || !this._view) return;
    const began = performance.now();
    for (let more = 1; more <= MOST_MORE && this._pass(more); more *= 2);
    this.hooks.onrender();
    this.longestFrame = Math.max(this.longestFrame, performance.now() - began);
  }

  /**
   * Show the rows around the anchor; return whether these are too few, so that it has to be done again with more.
   * @param {number} more  so many times the rows that should do
   */
  _pass(more) {
    const { pages, _view: view } = this;
    // While a fast job writes, the end is shown that was read last, and not none at all.
    const tail = this.stuck ? pages.tail : 0;
    pages.cap = tail && pages.end - tail < MOST_BEHIND_BYTES ? tail : Infinity;
    const offset = this.stuck ? pages.top : this.offset;
    if (!pages.known) {
      // How long the log is comes with the first answer; what is shown first is read at the same time.
      if (!this.stuck) pages.want([Math.floor(offset / PAGE_BYTES)]);
      return false;
    }
    const found = rowsAround(pages, offset, this._room(more), this.hooks.limit);
    if (pages.cap < pages.end) found.wanted.unshift(Math.floor((pages.end - 1) / PAGE_BYTES));
    pages.want(found.wanted);
    this.scroller.classList.toggle("log-loading", found.missing);
    if (!found.rows.length) {
      if (!found.missing) this._empty();
      this._scrollbar();
      return false;
    }
    const elements = this._place(found.rows);
    const anchor = elements[found.anchor];
    const total = this._list.offsetHeight;
    const last = Math.max(0, total - view);
    let top = this.stuck ? last : anchor.offsetTop + this.shift;
    const above = (top < 0 || total < view) && !found.atStart;
    const below = top > total - view && !found.atEnd;
    if ((above || below) && !found.missing && found.rows.length < MAX_ROWS && more < MOST_MORE) return true;
    top = Math.max(0, Math.min(top, last));
    this.atStart = found.atStart && top === 0;
    this.atEnd = found.atEnd && top >= last - 1;
    const index = this._at(elements, top);
    this.offset = found.rows[index].from;
    this.shift = top - elements[index].offsetTop;
    this._list.style.transform = `translateY(${-top}px)`;
    const bottom = found.rows[this._at(elements, top + view - 1)];
    this.seen = bottom.to - found.rows[index].from;
    if (total) this._perByte += (total / (bottom.to - found.rows[0].from + 1) - this._perByte) * 0.1;
    pages.touch(pagesOf(found.rows));
    this._scrollbar(elements[index].offsetHeight);
    return false;
  }

  /** @param {number} more */
  _room(more) {
    const { _view: view, _lineHeight: line, shift, wrap, _columns: columns } = this;
    const lines = (/** @type {number} */ pixels) => Math.ceil(((pixels + OVERSCAN) * more) / line);
    if (this.stuck) return { above: lines(view), below: 1, columns, wrap };
    // Near the end the rows below may not fill what is seen.
    const near = this.pages.end - this.offset < NEAR_BYTES ? view : 0;
    return { above: lines(Math.max(near, -shift)), below: lines(view + Math.max(0, shift)), columns, wrap };
  }

  _empty() {
    this._list.replaceChildren();
    this.rows.clear();
    this._elements.clear();
    this.seen = 0;
    this.atStart = this.atEnd = true;
  }

  /**
   * Put the rows into the document: those that are there already stay, and a selection in them.
   * @param {Row[]} rows
   */
  _place(rows) {
    const { _list: list, hooks } = this;
    const old = this._elements;
    this._elements = new Map();
    this.rows = new Map();
    const elements = rows.map((row) => {
      const key = hooks.key(row);
      const element = old.get(key) ?? hooks.paint(row);
      old.delete(key);
      this._elements.set(key, element);
      this.rows.set(element, row);
      return element;
    });
    for (const element of old.values()) element.remove();
    let next = list.firstElementChild;
    for (const element of elements) {
      if (element === next) next = next.nextElementSibling;
      else list.insertBefore(element, next);
    }
    return elements;
  }

  /**
   * Return the index of the row at a height.
   * @param {HTMLElement[]} elements
   * @param {number} top
   */
  _at(elements, top) {
    let [low, high] = [0, elements.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (elements[middle].offsetTop <= top) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  _scale() {
    const { pages } = this;
    return new Scale(pages.first, pages.end, this._view, Math.max(this._perByte, this._lineHeight / 5000));
  }

  /**
   * Put the scrollbar to where the rows are, but not under the hand of the user.
   * @param {number} [height]  of the first row that is seen
   */
  _scrollbar(height = 0) {
    const scale = this._scale();
    const whole = this.atStart && this.atEnd;
    const full = whole ? this._view : Math.max(scale.height, this._view + 1);
    if (full !== this._height) {
      this._spacer.style.height = `${full}px`;
      // The browser moves a scrollbar that would be beyond the end: that is no move of the user.
      if (full < this._height && this.scroller.scrollTop < this._top) this._top = this.scroller.scrollTop;
      this._height = full;
    }
    if (performance.now() - this._scrolled < SETTLED_MS) return;
    const first = this.rows.values().next().value;
    const part = height && first ? (this.shift / height) * Math.min(this.seen, 1000) : 0;
    let top = Math.round(scale.top(this.offset + Math.max(0, Math.min(part, this.seen)), this.seen));
    if (this.atEnd && !this.atStart) top = Math.max(1, scale.range);
    else if (this.atStart) top = 0;
    if (Math.abs(this.scroller.scrollTop - top) >= 1) this.scroller.scrollTop = top;
    this._top = this.scroller.scrollTop;
  }

  _onScroll() {
    const top = this.scroller.scrollTop;
    const moved = top - this._top;
    if (Math.abs(moved) < 1.5) return;
    this._top = top;
    this._scrolled = performance.now();
    clearTimeout(this._settle);
    this._settle = window.setTimeout(() => this.refresh(), SETTLED_MS + 20);
    const scale = this._scale();
    const end = top >= scale.range - 1 && moved > 0;
    if (Math.abs(moved) <= this._view * 1.2 && !end && top > 0) {
      this.move(moved);
      return;
    }
    if (end) {
      this.offset = this.pages.end;
      this.shift = this._view;
    } else {
      this.offset = scale.offset(top, this.seen);
      this.shift = 0;
    }
    this.stuck = false;
    this.hooks.onscroll(Math.sign(moved));
    this.refresh();
  }

  /** @param {WheelEvent} event */
  _onWheel(event) {
    if (event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    const unit = [1, this._lineHeight, this._view][event.deltaMode] ?? 1;
    const pixels = event.deltaY * unit;
    if ((pixels < 0 && this.atStart) || (pixels > 0 && this.atEnd)) {
      this.hooks.onscroll(Math.sign(pixels));
      return; // the page may scroll
    }
    event.preventDefault();
    this.move(pixels);
  }
}

/** @param {Row[]} rows */
function pagesOf(rows) {
  const numbers = new Set();
  for (const { from, to, gap } of rows) {
    if (gap !== null) continue;
    numbers.add(Math.floor(from / PAGE_BYTES));
    numbers.add(Math.floor((to - 1) / PAGE_BYTES));
  }
  return numbers;
}
