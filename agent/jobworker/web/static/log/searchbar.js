/** The field to search a log in, and what was found. */

import { button, press, pressed, toggle } from "./controls.js";
import { make } from "./paint.js";

/** @typedef {import("./toolbar.js").Actions} Actions */

export class Searchbar {
  /** @param {Pick<Actions, "search" | "step" | "leave">} actions */
  constructor(actions) {
    const form = (this.element = make("form", "log-search"));
    form.setAttribute("role", "search");
    this.field = make("input");
    this.field.type = "search";
    this.field.placeholder = "Search the output";
    this.field.setAttribute("aria-label", "Search the output");
    this.field.maxLength = 1024;
    this.field.spellcheck = false;
    this.field.autocomplete = "off";
    const send = () => actions.search(this.field.value, { regex: pressed(this._regex), case: pressed(this._case) });
    this._regex = toggle(".*", "Regular expression", false, send);
    this._case = toggle("Aa", "Upper and lower case are not the same", true, send);
    this.found = make("span", "log-found");
    form.append(
      this.field,
      this._regex,
      this._case,
      button("↑", () => actions.step(-1), { title: "Go to the match before", key: "Shift+N" }),
      button("↓", () => actions.step(1), { title: "Go to the next match", key: "n" }),
      this.found,
    );
    let sent = "";
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.field.value === sent && sent) actions.step(1);
      else send();
      sent = this.field.value;
    });
    this.field.addEventListener("search", () => {
      if (!this.field.value && sent) {
        sent = "";
        send();
      }
    });
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.preventDefault();
        actions.leave();
      } else if (event.key === "Enter" && event.shiftKey) {
        event.preventDefault();
        actions.step(-1);
      }
    });
  }

  /** @param {{pattern: string, regex: boolean, case: boolean}} query */
  show({ pattern, regex, case: same }) {
    this.field.value = pattern;
    press(this._regex, regex);
    press(this._case, same);
  }
}
