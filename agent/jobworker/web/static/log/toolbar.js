/** The controls above a log: elements and what they call; no state of the log. */

import { button, press, select, toggle } from "./controls.js";
import { make } from "./paint.js";
import { Searchbar } from "./searchbar.js";

/** @typedef {"offset" | "line" | "time"} Unit */
/**
 * @typedef {object} Actions
 * @property {() => void} follow  follow, or pause
 * @property {() => void} start
 * @property {() => void} end
 * @property {(unit: Unit, text: string) => void} go
 * @property {(streams: string[] | null) => void} streams
 * @property {(name: "wrap" | "times" | "numbers", on: boolean) => void} toggle
 * @property {() => void} download
 * @property {(pattern: string, options: {regex: boolean, case: boolean}) => void} search
 * @property {(towards: 1 | -1) => void} step  to the next match, or to the one before
 * @property {() => void} leave  give the focus to the log
 */

export class Toolbar {
  /** @param {Actions} actions */
  constructor(actions) {
    this.element = make("div", "log-toolbar");
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", "Controls of the output");
    this._follow = button("Follow", actions.follow, {
      title: "Follow the output, or pause",
      key: "f",
      className: "log-follow",
    });
    this.searchbar = new Searchbar(actions);
    this.place = make("input");
    this._unit = select("Kind of place", [["line", "Line"], ["offset", "Byte"], ["time", "Time"]]);
    const places = make("div", "log-group");
    const goes = this._goForm(actions);
    places.append(
      button("Top", actions.start, { title: "Go to the start", key: "Home" }),
      button("End", actions.end, { title: "Go to the end", key: "End" }),
      goes,
    );
    this._streams = select("Streams", [["", "Both streams"], ["stdout", "stdout"], ["stderr", "stderr"]]);
    this._streams.addEventListener("change", () => {
      actions.streams(this._streams.value ? [this._streams.value] : null);
    });
    const looks = make("div", "log-group");
    this._wrap = toggle("Wrap", "Wrap long lines", false, (on) => actions.toggle("wrap", on), "w");
    this._times = toggle("Times", "Show when each line arrived", false, (on) => actions.toggle("times", on), "t");
    this._numbers = toggle("Numbers", "Number the lines", true, (on) => actions.toggle("numbers", on));
    this._download = button("Download", actions.download, { title: "Save the output as a file" });
    looks.append(this._streams, this._wrap, this._times, this._numbers, this._download);
    // On a narrow screen what is seldom used is behind a button.
    const more = toggle("Options", "More controls", false, (on) => this.element.classList.toggle("log-open", on));
    more.classList.add("log-options");
    this.element.append(this._follow, this.searchbar.element, more, places, looks);
  }

  /** @param {Actions} actions */
  _goForm(actions) {
    const form = make("form", "log-go");
    const unit = this._unit;
    this.place.type = "text";
    const hints = { line: "a number", offset: "a number", time: "14:05 or 10m ago" };
    const hint = () => {
      this.place.placeholder = hints[/** @type {Unit} */ (unit.value)];
      this.place.setAttribute("aria-label", `Go to ${unit.selectedOptions[0].text.toLowerCase()}`);
    };
    unit.addEventListener("change", hint);
    hint();
    const go = button("Go", () => {});
    go.type = "submit";
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      actions.go(/** @type {Unit} */ (unit.value), this.place.value.trim());
    });
    form.append(unit, this.place, go);
    return form;
  }

  /**
   * Hide what the caller may not call.
   * @param {{searches: boolean, numbers: boolean}} allowed
   */
  limit({ searches, numbers }) {
    this.searchbar.element.hidden = !searches;
    this._numbers.hidden = !numbers;
    if (numbers) return;
    this._unit.options[0].remove();
    this._unit.dispatchEvent(new Event("change"));
  }

  /**
   * Show how the log is looked at.
   * @param {{following: boolean, live: boolean, streams: string[] | null, wrap: boolean, times: boolean,
   *   numbers: boolean}} state
   */
  show({ following, live, streams, wrap, times, numbers }) {
    press(this._follow, following);
    this._follow.hidden = !live;
    this._streams.value = streams?.length === 1 ? streams[0] : "";
    press(this._wrap, wrap);
    press(this._times, times);
    press(this._numbers, numbers);
  }

  /** @param {string | null} share  how much is saved; null: nothing is being saved */
  showDownload(share) {
    this._download.textContent = share === null ? "Download" : `Cancel (${share})`;
  }
}
