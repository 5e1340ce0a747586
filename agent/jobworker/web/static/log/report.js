/** Report what is shown, for the address of the page: when nothing has moved for a moment, and only what is new. */

const CHANGE_MS = 400; // after a move

/** @typedef {import("./place.js").Place} Place */

export class Report {
  /** @param {((place: Place) => void) | undefined} onchange @param {() => Place} place */
  constructor(onchange, place) {
    this._onchange = onchange;
    this._place = place;
    this._last = "";
    this._timer = 0;
  }

  close() {
    clearTimeout(this._timer);
    this._onchange = undefined;
  }

  /** Report soon, and not before that. */
  later() {
    clearTimeout(this._timer);
    this._timer = window.setTimeout(() => this.now(), CHANGE_MS);
  }

  now() {
    const place = this._place();
    const text = JSON.stringify(place);
    if (!this._onchange || text === this._last) return;
    this._last = text;
    this._onchange(place);
  }
}
