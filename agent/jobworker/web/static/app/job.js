// One job: what it is, what can be done to it, what it writes, why it is as it is.

import { Actions } from "./actions.js";
import { errorText, fill, h, setText } from "./dom.js";
import { showFacts, showReceipt, showTimeline, Usage } from "./facts.js";
import { final, mood, state, title } from "./format.js";
import { format } from "./route.js";

const STATS_MILLISECONDS = 2000; // at least, between two readings of what it uses
const EXPLAIN_MILLISECONDS = 1000; // at least, between two readings of what happened

/**
 * @typedef {import("./jobs.js").Place} Place
 * @typedef {{close: () => void}} Mounted
 */

/** @param {Place} place @param {string} id @returns {import("./main.js").View} */
export function showJob(place, id) {
  const view = new JobView(place, id);
  void view.open();
  return { job: id, close: () => view.close(), change: (route) => view.change(route) };
}

class JobView {
  #ended = new AbortController();
  /** @type {any} */
  #job;
  #heading = h("h1", null);
  #badge = h("span", null);
  #note = h("p", { class: "note", role: "status" });
  #trouble = h("div", null);
  #facts = h("div", null);
  #receipt = h("section", { class: "panel", hidden: true });
  #timeline = h("div", null);
  #usage = new Usage();
  #log = h("section", { class: "log", "aria-label": "Log" });
  #terminal = h("section", { class: "terminal", "aria-label": "Terminal", hidden: true });
  /** @type {Actions} */
  #actions;
  /** What was mounted into the sections. @type {Mounted[]} */
  #mounted = [];
  /** The log, once its module was loaded. @type {Mounted | undefined} */
  #shown;
  /** @type {any} */
  #explaining;

  /** @param {Place} place @param {string} id */
  constructor(place, id) {
    this.place = place;
    this.session = place.session;
    this.agent = place.session.agent;
    this.id = id;
    this.#actions = new Actions(this.session, {
      report: (text) => setText(this.#note, text),
      fail: (error) => fill(this.#trouble, errorText(error)),
      stopping: (call) => void this.#stop(call),
      changed: (job) => { fill(this.#trouble); this.#show(job); },
      deleted: () => { location.hash = "#/jobs"; },
    });
  }

  close() {
    this.#ended.abort();
    clearTimeout(this.#explaining);
    this.#shown?.close();
    for (const part of this.#mounted) part.close();
  }

  /** Whether the address still names this job. @param {import("./route.js").Route} route */
  change(route) {
    if (route.path.length !== 2 || route.path[0] !== "jobs" || route.path[1] !== this.id) return false;
    this.#shown?.close();
    if (this.#shown !== undefined) void this.#mountLog(route.query);
    return true;
  }

  async open() {
    const { signal } = this.#ended;
    try {
      const job = await this.agent.call("job.status", { id: this.id }, { signal });
      if (signal.aborted) return;
      this.#build();
      this.#show(job);
      this.#mount(job);
    } catch (error) {
      if (signal.aborted) return;
      fill(this.place.main, h("h1", null, "This job cannot be shown"), errorText(error),
        h("p", null, h("a", { href: "#/jobs" }, "All jobs")));
      return;
    }
    this.session.addEventListener("jobs", (event) => {
      this.#take(/** @type {CustomEvent} */ (event).detail);
    }, { signal });
    this.session.addEventListener("access", () => void this.#renew(), { signal });
    void this.#watchUsage(signal);
  }

  #build() {
    fill(this.place.main,
      h("div", { class: "title" }, this.#heading, this.#badge), this.#actions.element, this.#note, this.#trouble,
      h("div", { class: "job" },
        h("div", { class: "output" }, this.#terminal, this.#log),
        h("div", { class: "about" },
          this.#receipt,
          h("section", { class: "panel", "aria-labelledby": "facts-title" },
            h("h2", { id: "facts-title" }, "Facts"), this.#facts),
          this.#usage.element,
          this.session.access.sees("job.explain") &&
            h("section", { class: "panel", "aria-labelledby": "story-title" },
              h("h2", { id: "story-title" }, "What happened"), this.#timeline))));
  }

  /** @param {any} job */
  #show(job) {
    if (this.#job !== undefined && job.revision < this.#job.revision) return;
    const before = this.#job;
    this.#job = job;
    setText(this.#heading, title(job));
    document.title = `${this.#heading.textContent} · jobworker`;
    setText(this.#badge, state(job));
    this.#badge.className = `badge ${mood(job)}`;
    this.#actions.show(job);
    showFacts(this.#facts, job);
    showReceipt(this.#receipt, job.exit?.receipt);
    if (before === undefined || before.state !== job.state) this.place.report(`${title(job)}: ${state(job)}`);
    this.#explain();
  }

  /** @param {any} job */
  #mount(job) {
    const { access } = this.session;
    const readable = access.reads("log.read", job) && access.reads("log.subscribe", job);
    this.#log.hidden = !readable;
    if (readable) void this.#mountLog(this.place.route.query);
    if (job.spec.tty) void this.#mountTerminal(job);
  }

  /** Show the log at the place in the address, and keep that place there. @param {URLSearchParams} query */
  async #mountLog(query) {
    const { mountLog, optionsOf, paramsOf } = await import("../log/view.js");
    if (this.#ended.signal.aborted) return;
    const { access } = this.session;
    this.#shown = mountLog(this.#log, this.agent, this.id, {
      ...optionsOf(query),
      searches: access.reads("log.search", this.#job),
      numbers: access.reads("log.lines", this.#job),
      name: this.#job.name ?? undefined,
      onchange: (place) => history.replaceState(null, "", format(["jobs", this.id], paramsOf(place))),
    });
  }

  /** @param {any} job */
  async #mountTerminal(job) {
    const { access } = this.session;
    if (!access.reads("screen.read", job) || !access.reads("log.subscribe", job)) return;
    const { mountTerminal } = await import("../terminal/view.js");
    if (this.#ended.signal.aborted) return;
    this.#terminal.hidden = false;
    const canType = ["stdin.claim", "stdin.write", "job.resize"].every((method) => access.controls(method, job));
    this.#mounted.push(mountTerminal(this.#terminal, this.agent, this.id, { canType }));
  }

  /** @param {import("./session.js").Batch} batch */
  #take(batch) {
    const event = batch.jobs.get(this.id);
    if (event?.event === "deleted") return this.#gone();
    if (batch.all || event?.event === "updated") void this.#renew();
    else if (event !== undefined) this.#show({ ...event.job, spec: this.#job.spec });
  }

  async #renew() {
    try {
      this.#show(await this.agent.call("job.status", { id: this.id }));
    } catch (error) {
      if (!this.#ended.signal.aborted) fill(this.#trouble, errorText(error));
    }
  }

  #gone() {
    this.close();
    fill(this.place.main, h("h1", null, `${title(this.#job)} was deleted`),
      h("p", null, h("a", { href: "#/jobs" }, "All jobs")));
  }

  /** Follow a stop, which may take long, to its receipt. @param {Promise<any>} call */
  async #stop(call) {
    fill(this.#trouble);
    setText(this.#note, "Stopping…");
    try {
      const job = await call;
      this.#show(job);
      const { receipt } = job.exit ?? {};
      const left = receipt?.survivors.length;
      setText(this.#note, left ? `Stopped, but ${left} of its processes live on.` : "Stopped.");
    } catch (error) {
      setText(this.#note, "");
      if (!this.#ended.signal.aborted) fill(this.#trouble, errorText(error));
      const survivors = /** @type {any} */ (error).data?.survivors;
      if (Array.isArray(survivors)) {
        showReceipt(this.#receipt, { strategy: "", method: "", proof: "none", steps: [], survivors });
      }
    }
  }

  /** Read what happened: at once for the first time, then not too often. */
  #explain() {
    if (this.#explaining !== undefined || !this.session.access.reads("job.explain", this.#job)) return;
    const read = async () => {
      try {
        const explanation = await this.agent.call("job.explain", { id: this.id }, { signal: this.#ended.signal });
        showTimeline(this.#timeline, explanation);
      } catch {
        // Another change of the job reads it again.
      }
    };
    const first = this.#timeline.childElementCount === 0;
    this.#explaining = setTimeout(async () => {
      this.#explaining = undefined;
      if (!this.#ended.signal.aborted) await read();
    }, first ? 0 : EXPLAIN_MILLISECONDS);
  }

  /** Read what the job uses while it runs and the page is seen, and once at its end. @param {AbortSignal} signal */
  async #watchUsage(signal) {
    if (!this.session.access.reads("job.stats", this.#job)) return;
    while (!signal.aborted) {
      const ended = final(this.#job);
      if (!document.hidden && this.#job.started_at) {
        try {
          this.#usage.show(await this.agent.call("job.stats", { id: this.id }, { signal }));
        } catch {
          // The next reading may come through.
        }
        if (ended) return;
      }
      await new Promise((resolve) => setTimeout(resolve, STATS_MILLISECONDS));
    }
  }
}
