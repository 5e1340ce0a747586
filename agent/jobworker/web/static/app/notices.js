// What happens to jobs, as small notices that go away by themselves; and one status for screen readers.

import { h, setText } from "./dom.js";
import { state, title } from "./format.js";
import { format } from "./route.js";

const MAX_NOTICES = 3;
const SHOWN_MILLISECONDS = 8000;
const STATUS_MILLISECONDS = 5000; // between two changes of what is read to people

/**
 * Return the text of an event that people want to know of though they look at something else.
 * @param {any} event
 */
export function worthy(event) {
  const job = event.job;
  if (event.event === "exited") return `${title(job)}: ${state(job)}`;
  if (event.event === "deadline_near") return `${title(job)} is near its time limit`;
  if (event.event === "limit_failed") return `${title(job)}: a time limit is not enforced`;
  if (event.event === "waiting" && job.waiting) return `${title(job)} waits for its input`;
  return "";
}

export class Notices {
  /** @type {HTMLElement[]} */
  #shown = [];
  #more = 0;
  #rest = h("p", { class: "notice rest", hidden: true });

  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    element.append(this.#rest);
  }

  /**
   * Show the events of a batch, except those of the job that is open.
   * @param {any[]} events
   * @param {string} [open]
   */
  add(events, open) {
    for (const event of events) {
      const text = worthy(event);
      if (text === "" || event.job.id === open) continue;
      if (this.#shown.length < MAX_NOTICES) this.#show(event, text);
      else this.#more += 1;
    }
    this.#count();
  }

  /** @param {any} event @param {string} text */
  #show(event, text) {
    const hide = () => this.#hide(notice);
    const close = h("button", { class: "quiet", "aria-label": `Close: ${text}`, onclick: hide }, "×");
    const link = h("a", { href: format(["jobs", event.job.id]) }, text);
    const notice = h("div", { class: "notice" }, event.event === "deleted" ? h("span", null, text) : link, close);
    this.#rest.before(notice);
    this.#shown.push(notice);
    this.#later(notice);
  }

  /** Hide a notice after a while, but not under the pointer or the focus. @param {HTMLElement} notice */
  #later(notice) {
    setTimeout(() => {
      if (notice.matches(":hover, :focus-within")) this.#later(notice);
      else this.#hide(notice);
    }, SHOWN_MILLISECONDS);
  }

  /** @param {HTMLElement} notice */
  #hide(notice) {
    this.#shown = this.#shown.filter((other) => other !== notice);
    notice.remove();
    if (this.#shown.length === 0) this.#more = 0;
    this.#count();
  }

  #count() {
    this.#rest.hidden = this.#more === 0;
    setText(this.#rest, `and ${this.#more} more`);
  }
}

/** A live region that changes at most every five seconds, to the newest text. */
export class Status {
  #last = -STATUS_MILLISECONDS;
  /** @type {string | undefined} */
  #next;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
  }

  /** @param {string} text */
  report(text) {
    const waiting = this.#next !== undefined;
    this.#next = text;
    if (waiting) return;
    const pause = Math.max(this.#last + STATUS_MILLISECONDS - performance.now(), 0);
    setTimeout(() => {
      this.#last = performance.now();
      setText(this.element, this.#next);
      this.#next = undefined;
    }, pause);
  }
}
