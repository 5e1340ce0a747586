/** The line below a log: where it is; errors; and a few words, seldom, for a screen reader. */

import { counted, make } from "./paint.js";

const ANNOUNCE_MS = 5000; // at least, between two announcements

export class Status {
  /** @param {() => void} onretry */
  constructor(onretry) {
    this.line = make("div", "log-status");
    this._place = this.line.appendChild(make("span", "log-place"));
    this._news = this.line.appendChild(make("span", "log-news"));
    this.announcer = make("div", "log-announcer");
    this.announcer.setAttribute("role", "status");
    this.alert = make("div", "log-error");
    this.alert.setAttribute("role", "alert");
    this.alert.hidden = true;
    this._message = this.alert.appendChild(make("span"));
    const retry = this.alert.appendChild(make("button", "", "Try again"));
    retry.type = "button";
    retry.addEventListener("click", () => {
      this.error(null);
      onretry();
    });
    this._announced = -Infinity;
    this._timer = 0;
  }

  close() {
    clearTimeout(this._timer);
  }

  /**
   * @param {{pages: import("./pages.js").LogPages, offset: number, line: number | null, live: boolean,
   *   empty: boolean}} now
   */
  show({ pages, offset, line, live, empty }) {
    const { end } = pages;
    const place = [line === null ? "" : `line ${counted(line)}`, `byte ${counted(offset)} of ${counted(end)}`];
    const nothing = live ? "no output yet" : "the job wrote no output";
    const text = empty && !pages.busy && !end ? nothing : place.filter(Boolean).join(", ");
    if (this._place.textContent !== text) this._place.textContent = text;
  }

  /**
   * Show a few words, and have a screen reader read them, the last ones of those that come too fast.
   * @param {string} text
   */
  announce(text) {
    this._news.textContent = text;
    clearTimeout(this._timer);
    const wait = Math.max(0, this._announced + ANNOUNCE_MS - performance.now());
    this._timer = window.setTimeout(() => {
      this._announced = performance.now();
      this.announcer.textContent = text;
    }, wait);
  }

  /** @param {any} error  null: there is none any more */
  error(error) {
    this.alert.hidden = !error;
    if (!error) return;
    const hint = error.hint ? `; ${error.hint}` : "";
    this._message.textContent = `${error.message ?? error}${hint}`;
  }
}
