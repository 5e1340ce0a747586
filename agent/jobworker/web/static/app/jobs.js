// The list of jobs: one page of the agent's list at a time, which events keep as it is.

import { errorText, fill, h, setText } from "./dom.js";
import { filterForm, matches, readFilter, toQuery } from "./filter.js";
import { format } from "./route.js";
import { Rows } from "./rows.js";

const PAGE = 50;
const SEARCH_PAGE = 500; // jobs in one call while names are searched
const MAX_LOOKUPS = 20; // jobs that are read one by one after a batch of events; of more, the page is read anew
const RELOAD_MILLISECONDS = 1000; // at least, between two readings of the page
const AGE_MILLISECONDS = 10000;

/**
 * @typedef {{main: HTMLElement, session: import("./session.js").Session, route: import("./route.js").Route,
 *   report: (text: string) => void}} Place
 * @typedef {import("./filter.js").Filter} Filter
 */

/** @param {Place} place @returns {import("./main.js").View} */
export function showJobs(place) {
  const list = new JobList(place);
  void list.load();
  return { close: () => list.close(), change: (route) => list.change(route) };
}

class JobList {
  #ended = new AbortController();
  /** Ends the reading that is under way when another one begins. */
  #reading = new AbortController();
  /** @type {Filter} */
  #filter;
  /** Where the page begins: after this job; "": with the newest. */
  #before = "";
  /** The cursor of the next page. @type {string | null} */
  #next = null;
  #loaded = false;
  /** The events since a reading began, whose answer may be older than they: null if none is under way.
   * @type {import("./session.js").Batch[] | null} */
  #missed = null;
  #lastLoad = 0;
  /** @type {any} */
  #timer;
  #rows = new Rows();
  #count = h("p", { class: "count" });
  #trouble = h("div", null);
  #newest = h("a", { href: "#/jobs" }, "Newest");
  #older = h("a", { href: "#/jobs" }, "Older");
  /** @type {{element: HTMLElement, set: (filter: Filter) => void}} */
  #form;

  /** @param {Place} place */
  constructor(place) {
    this.place = place;
    this.session = place.session;
    this.#filter = readFilter(place.route.query);
    this.#before = place.route.query.get("before") ?? "";
    document.title = "Jobs · jobworker";
    this.#form = filterForm(this.session.access.id, (filter) => this.#go(filter, ""));
    this.#form.set(this.#filter);
    fill(place.main, h("div", { class: "title" }, h("h1", null, "Jobs")),
      this.#form.element, this.#trouble, this.#rows.element,
      h("div", { class: "pager" }, this.#count, h("nav", { "aria-label": "Pages" }, this.#newest, this.#older)));
    const { signal } = this.#ended;
    this.session.addEventListener("jobs", (event) => {
      void this.#take(/** @type {CustomEvent} */ (event).detail);
    }, { signal });
    const ages = setInterval(() => { if (!document.hidden) this.#rows.renew(); }, AGE_MILLISECONDS);
    signal.addEventListener("abort", () => clearInterval(ages));
  }

  close() {
    this.#ended.abort();
    this.#reading.abort();
    clearTimeout(this.#timer);
  }

  /** Take another filter or page from the address. @param {import("./route.js").Route} route */
  change(route) {
    if (route.path.length !== 1 || route.path[0] !== "jobs") return false;
    this.#filter = readFilter(route.query);
    this.#before = route.query.get("before") ?? "";
    this.#form.set(this.#filter);
    void this.load();
    return true;
  }

  /** @param {Filter} filter @param {string} before */
  #go(filter, before) {
    const place = format(["jobs"], toQuery(filter, before));
    if (place === location.hash) void this.load();
    else location.hash = place;
  }

  /** Read the page. */
  async load() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#lastLoad = performance.now();
    this.#reading.abort();
    this.#reading = new AbortController();
    const { signal } = this.#reading;
    this.#missed = [];
    this.#rows.element.setAttribute("aria-busy", "true");
    try {
      const { jobs, next } = this.#filter.name ? await this.#search(signal) : await this.#page(signal);
      if (signal.aborted) return;
      this.#next = next;
      this.#loaded = true;
      this.#rows.replace(jobs);
      fill(this.#trouble);
      this.#note();
    } catch (error) {
      if (!signal.aborted) fill(this.#trouble, errorText(error));
    }
    if (signal.aborted) return;
    this.#rows.element.removeAttribute("aria-busy");
    const missed = this.#missed ?? [];
    this.#missed = null;
    for (const batch of missed) await this.#take(batch);
  }

  /** @param {AbortSignal} signal @returns {Promise<{jobs: any[], next: string | null}>} */
  async #page(signal) {
    return this.session.agent.call("job.list", this.#query(PAGE, this.#before || null), { signal });
  }

  /**
   * Search names, which the agent has no index of: page by page, until enough are found.
   * @param {AbortSignal} signal
   */
  async #search(signal) {
    /** @type {any[]} */
    const found = [];
    /** @type {string | null} */
    let cursor = this.#before || null;
    for (let searched = 0; ;) {
      const page = await this.session.agent.call("job.list", this.#query(SEARCH_PAGE, cursor), { signal });
      searched += page.jobs.length;
      for (const job of page.jobs) {
        if (!matches(this.#filter, job)) continue;
        found.push(job);
        if (found.length === PAGE) return { jobs: found, next: job.id };
      }
      if (page.next === null) return { jobs: found, next: null };
      cursor = page.next;
      this.#rows.replace(found);
      setText(this.#count, `Searched ${searched.toLocaleString("en")} jobs, found ${found.length} so far…`);
    }
  }

  /** @param {number} limit @param {string | null} cursor */
  #query(limit, cursor) {
    const { states, labels, owner } = this.#filter;
    return { states: states.length ? states : null, labels, owner: owner || null, limit, cursor };
  }

  /** Show the events of a batch in the rows. @param {import("./session.js").Batch} batch */
  async #take(batch) {
    if (this.#missed !== null) {
      this.#missed.push(batch);
      return;
    }
    if (batch.all || !this.#loaded) return this.#reload();
    /** @type {string[]} */
    const missing = [];
    for (const [id, { event, job }] of batch.jobs) {
      const row = this.#rows.get(id);
      if (event === "deleted") this.#rows.remove(id);
      else if (row !== undefined && !matches(this.#filter, { ...row, ...job })) this.#rows.remove(id);
      else if (row !== undefined) this.#rows.put({ ...row, ...job });
      else if (this.#belongs(job)) missing.push(id);
    }
    if (missing.length > MAX_LOOKUPS) return this.#reload();
    await this.#add(missing);
    if (this.#rows.size < PAGE / 2 && this.#next !== null) this.#reload();
    this.#note();
  }

  /** Read jobs that have come into the page. @param {string[]} ids */
  async #add(ids) {
    const { signal } = this.#reading;
    const read = ids.map((id) => this.session.agent.call("job.status", { id }, { signal }).catch(() => undefined));
    for (const job of await Promise.all(read)) {
      if (signal.aborted || job === undefined || !matches(this.#filter, job)) continue;
      this.#rows.put(job);
      const last = this.#rows.trim(PAGE);
      if (last !== undefined) this.#next = last;
    }
  }

  /** Whether a job without a row matches the filter and lies between the ends of this page. @param {any} job */
  #belongs(job) {
    if (this.#before && job.id >= this.#before) return false;
    if (this.#next !== null && job.id < this.#next) return false;
    return matches(this.#filter, job, true);
  }

  /** Read the page again, soon. */
  #reload() {
    if (this.#timer !== undefined) return;
    const pause = Math.max(this.#lastLoad + RELOAD_MILLISECONDS - performance.now(), 0);
    this.#timer = setTimeout(() => void this.load(), pause);
  }

  #note() {
    const { size } = this.#rows;
    const filtered = format(["jobs"], toQuery(this.#filter, "")) !== "#/jobs";
    const none = this.#before ? "No older jobs." : filtered ? "No job matches." : "No jobs yet.";
    const jobs = size === 1 ? "1 job" : `${size} jobs`;
    const place = this.#before ? "older " : this.#next === null ? "" : "newest ";
    setText(this.#count, size === 0 ? none : place ? `The ${place}${jobs}` : jobs);
    this.place.report(this.#count.textContent ?? "");
    this.#newest.hidden = !this.#before;
    this.#newest.href = format(["jobs"], toQuery(this.#filter, ""));
    this.#older.hidden = this.#next === null;
    this.#older.href = format(["jobs"], toQuery(this.#filter, this.#next ?? ""));
  }
}
