/** What a view reads of a log: pages of it, and what its job adds while it runs; both anew for other streams. */

import { Follow } from "./follow.js";
import { LogPages } from "./pages.js";

export class Source {
  /**
   * @param {any} agent
   * @param {string} id  of the job
   * @param {import("./calls.js").Calls} calls
   * @param {string[] | null} streams  only these
   * @param {{eager: () => boolean, onload: () => void, ongrow: () => void, onend: () => void,
   *   onerror: (error: any) => void}} hooks  `eager`: whether the end is shown
   */
  constructor(agent, id, calls, streams, hooks) {
    this._agent = agent;
    this._id = id;
    this._calls = calls;
    this._hooks = hooks;
    this.streams = streams;
    this.arrivals = false; // whether pages have the time of each record
    this.live = true; // until the log has its end
    this.pages = this._newPages();
    this._follow = this._newFollow();
  }

  close() {
    this._follow.close();
    this.pages.close();
  }

  /** Read what the job adds, until the log has its end. */
  run() {
    this._follow.run();
  }

  /** Read the end now: it has come into view. */
  hurry() {
    this._follow.hurry();
  }

  /**
   * Read everything again.
   * @param {{streams?: string[] | null, arrivals?: boolean}} how
   */
  renew({ streams = this.streams, arrivals = this.arrivals }) {
    const { first, end } = this.pages;
    this.close();
    Object.assign(this, { streams, arrivals });
    this.pages = this._newPages();
    Object.assign(this.pages, { first, end, known: true });
    this._follow = this._newFollow();
    this._follow.run();
  }

  _newPages() {
    const { streams, arrivals } = this;
    const { onload, onerror } = this._hooks;
    return new LogPages((params) => this._calls.call("log.read", params), { streams, arrivals, onload, onerror });
  }

  _newFollow() {
    const { eager, ongrow, onend } = this._hooks;
    return new Follow(this._agent, this._id, this.pages, {
      eager,
      ongrow,
      onend: () => {
        this.live = false;
        onend();
      },
    });
  }
}
