// The rows of the list of jobs, the newest first: made once, changed in place, so that focus and selection stay.

import { fill, h, setText } from "./dom.js";
import { age, command, labelTexts, mood, ran, state } from "./format.js";
import { format } from "./route.js";

const MAX_COMMAND = 200; // characters of a command in a row
const MAX_LABELS = 8; // in a row; the view of the job has all

/** @typedef {{job: any, element: HTMLTableRowElement, renew: () => void, set: (job: any) => void}} Row */

export class Rows {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #body = h("tbody", null);
  element = h("table", { class: "jobs" },
    h("caption", { class: "unseen" }, "Jobs, the newest first"),
    h("thead", null, h("tr", null,
      h("th", { scope: "col" }, "State"), h("th", { scope: "col" }, "Job"), h("th", { scope: "col" }, "Age"),
      h("th", { scope: "col", class: "wide" }, "Ran"), h("th", { scope: "col", class: "wide" }, "Owner"))),
    this.#body);

  get size() {
    return this.#rows.size;
  }

  /** Return the job of a row. @param {string} id */
  get(id) {
    return this.#rows.get(id)?.job;
  }

  /** Show these jobs and no others. @param {any[]} jobs */
  replace(jobs) {
    const ids = new Set(jobs.map((job) => job.id));
    for (const id of [...this.#rows.keys()]) if (!ids.has(id)) this.remove(id);
    for (const job of jobs) this.put(job);
  }

  /** Show a job: in its row, or in a new one where it belongs. @param {any} job */
  put(job) {
    const row = this.#rows.get(job.id);
    if (row !== undefined) {
      if (job.revision >= row.job.revision) row.set(job);
      return;
    }
    const made = makeRow(job);
    this.#rows.set(job.id, made);
    // Ids grow with time. Most new jobs belong to one of the ends.
    const rows = /** @type {HTMLCollectionOf<HTMLTableRowElement>} */ (this.#body.children);
    const last = rows[rows.length - 1];
    if (last === undefined || (last.dataset.job ?? "") > job.id) this.#body.append(made.element);
    else [...rows].find((other) => (other.dataset.job ?? "") < job.id)?.before(made.element);
  }

  /** @param {string} id */
  remove(id) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
  }

  /** Remove rows at the end until so many are left; return the id of the last one if any was. @param {number} size */
  trim(size) {
    let trimmed = false;
    for (; this.#rows.size > size; trimmed = true) {
      this.remove(/** @type {HTMLElement} */ (this.#body.lastElementChild).dataset.job ?? "");
    }
    return trimmed ? /** @type {HTMLElement} */ (this.#body.lastElementChild).dataset.job : undefined;
  }

  /** Write ages anew. */
  renew() {
    for (const row of this.#rows.values()) row.renew();
  }
}

/** @param {any} job @returns {Row} */
function makeRow(job) {
  const badge = h("span", null);
  const name = h("a", { href: format(["jobs", job.id]) });
  const words = h("span", { class: "command" });
  const labels = h("span", { class: "labels" });
  const since = h("td", { title: job.created_at });
  const length = h("td", { class: "wide" });
  const owner = h("td", { class: "wide owner" }, job.owner);
  const element = h("tr", { "data-job": job.id }, h("td", { class: "state" }, badge),
    h("td", { class: "name" }, name, " ", words, labels), since, length, owner);
  let labelled = "";
  const renew = () => {
    setText(since, age(job.created_at));
    setText(length, ran(job));
  };
  /** @param {any} next */
  const set = (next) => {
    job = row.job = next;
    setText(badge, state(job));
    badge.className = `badge ${mood(job)}`;
    const text = command(job.spec);
    setText(name, job.name || text.slice(0, MAX_COMMAND) || job.id.slice(0, 12));
    setText(words, job.name ? text.slice(0, MAX_COMMAND) : "");
    const texts = labelTexts(job.labels);
    const more = texts.length > MAX_LABELS ? [`and ${texts.length - MAX_LABELS} more`] : [];
    const wanted = [...texts.slice(0, MAX_LABELS), ...more];
    if (wanted.join("\n") !== labelled) fill(labels, wanted.map((label) => h("span", { class: "label" }, label)));
    labelled = wanted.join("\n");
    renew();
  };
  /** @type {Row} */
  const row = { job, element, renew, set };
  set(job);
  return row;
}
