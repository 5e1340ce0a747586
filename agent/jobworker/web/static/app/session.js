// One logged-in agent for the whole page: what the caller may do, and one subscription to events for all views.

import { Access } from "./access.js";

const BATCH_MILLISECONDS = 200; // events of that time reach the views together
const MAX_JOBS = 500; // in one batch; of more, the views read anew

/**
 * @typedef {{jobs: Map<string, any>, events: any[], all: boolean}} Batch  `jobs` has the newest event of each job;
 *   `all`: there were more, or some are missing
 */

/** Sends "jobs" events whose `detail` is a Batch, and "access" when the caller may do other things than before. */
export class Session extends EventTarget {
  /** @type {Batch} */
  #batch = { jobs: new Map(), events: [], all: false };
  /** @type {any} */
  #timer;
  #ended = new AbortController();

  /**
   * @param {import("../client/jobworker.js").Agent} agent
   * @param {any} info
   */
  constructor(agent, info) {
    super();
    this.agent = agent;
    /** What `agent.info` answered; little for a caller that may do nothing. */
    this.info = info;
    this.access = new Access(agent.caller);
    agent.addEventListener("state", () => { if (agent.state === "connected") void this.#renew(); });
    if (this.access.sees("event.subscribe")) void this.#follow();
  }

  /** @param {import("../client/jobworker.js").Agent} agent */
  static async open(agent) {
    return new Session(agent, await agent.agent.info());
  }

  close() {
    clearTimeout(this.#timer);
    this.#ended.abort();
    this.agent.close();
  }

  /** After a reconnect the agent may be another version, and the caller may do other things. */
  async #renew() {
    try {
      this.info = await this.agent.agent.info();
    } catch {
      return; // the connection was lost again: the next one comes here too
    }
    this.access = new Access(this.agent.caller);
    this.dispatchEvent(new Event("access"));
  }

  async #follow() {
    try {
      for await (const event of this.agent.events({ signal: this.#ended.signal })) this.#add(event);
    } catch {
      // The page shows why the agent has closed the connection; views stay as they are.
    }
  }

  /** @param {any} event */
  #add(event) {
    const batch = this.#batch;
    if (event.kind === "gap" || batch.jobs.size >= MAX_JOBS) batch.all = true;
    if (event.kind === "event") {
      batch.jobs.set(event.job.id, event);
      if (batch.events.length < MAX_JOBS) batch.events.push(event);
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#batch = { jobs: new Map(), events: [], all: false };
      this.dispatchEvent(new CustomEvent("jobs", { detail: batch }));
    }, BATCH_MILLISECONDS);
  }
}
