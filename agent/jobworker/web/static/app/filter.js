// The filter of the list of jobs: in the address, in the form, and for jobs that events bring.

import { field, h } from "./dom.js";

const FINAL = ["exited", "lost"];
const ACTIVE = ["created", "queued", "running", "paused", "stopping"];
/** What can be chosen, in the order of the form. @type {[string, string, string[]][]} */
const CHOICES = [
  ["", "all", []],
  ["active", "not ended", ACTIVE],
  ["ended", "ended", FINAL],
  ...[...ACTIVE, ...FINAL].map((state) => /** @type {[string, string, string[]]} */ ([state, state, [state]])),
];

/**
 * `choice` is of CHOICES, and `states` what it means.
 * @typedef {{choice: string, states: string[], labels: Record<string, string>, name: string, owner: string}} Filter
 */

/** @param {URLSearchParams} query @returns {Filter} */
export function readFilter(query) {
  const choice = query.get("state") ?? "";
  const states = CHOICES.find(([name]) => name === choice)?.[2] ?? [];
  /** @type {Record<string, string>} */
  const labels = {};
  for (const text of query.getAll("label")) Object.assign(labels, label(text));
  return { choice, states, labels, name: query.get("name") ?? "", owner: query.get("owner") ?? "" };
}

/** @param {Filter} filter @param {string} before */
export function toQuery(filter, before) {
  const query = new URLSearchParams();
  if (filter.states.length) query.set("state", filter.choice);
  for (const [name, value] of Object.entries(filter.labels)) query.append("label", `${name}=${value}`);
  if (filter.name) query.set("name", filter.name);
  if (filter.owner) query.set("owner", filter.owner);
  if (before) query.set("before", before);
  return query;
}

/**
 * Whether a job matches; `summary`: it has no spec, so that its command is not known.
 * @param {Filter} filter
 * @param {any} job
 * @param {boolean} [summary]
 */
export function matches(filter, job, summary = false) {
  if (filter.states.length && !filter.states.includes(job.state)) return false;
  if (filter.owner && job.owner !== filter.owner) return false;
  if (Object.entries(filter.labels).some(([name, value]) => job.labels[name] !== value)) return false;
  if (!filter.name || summary) return true;
  const text = filter.name.toLowerCase();
  return (job.name ?? "").toLowerCase().includes(text) || job.id.startsWith(text);
}

/**
 * Return the form, and what shows a filter in it.
 * @param {string} own  the owner of the caller's jobs
 * @param {(filter: Filter) => void} onchange
 */
export function filterForm(own, onchange) {
  let owner = "";
  // Labels of a link may have spaces, which the field cannot part: they stay until the field is changed.
  /** @type {{text: string, labels: Record<string, string>}} */
  let given = { text: "", labels: {} };
  const state = h("select", null, CHOICES.map(([value, text]) => h("option", { value }, text)));
  const plain = { type: "search", spellcheck: "false", autocomplete: "off" };
  const name = h("input", { ...plain, placeholder: "name or id" });
  const labels = h("input", { ...plain, placeholder: "app=web tier=1" });
  const mine = h("input", { type: "checkbox" });
  const read = () => {
    const query = new URLSearchParams({ state: state.value, name: name.value.trim() });
    for (const text of labels.value.split(/[\s,]+/)) query.append("label", text);
    const filter = readFilter(query);
    if (labels.value === given.text) filter.labels = given.labels;
    return { ...filter, owner: mine.checked ? own : owner === own ? "" : owner };
  };
  const change = () => onchange(read());
  for (const input of [state, name, labels, mine]) input.addEventListener("change", change);
  const element = h("form", {
    class: "filter", role: "search", "aria-label": "Filter of the jobs",
    onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); change(); },
  }, field("State", state), field("Name", name), field("Labels", labels), field("Mine only", mine),
  h("button", { class: "unseen-until-focus" }, "Filter"));
  /** @param {Filter} filter */
  const set = (filter) => {
    owner = filter.owner;
    state.value = filter.states.length ? filter.choice : "";
    // What is being typed stays; all else is as in the address.
    if (document.activeElement !== name) name.value = filter.name;
    const text = Object.entries(filter.labels).map(([key, value]) => `${key}=${value}`).join(" ");
    if (document.activeElement !== labels) labels.value = text;
    given = { text, labels: filter.labels };
    mine.checked = filter.owner === own;
  };
  return { element, set };
}

/** @param {string} text @returns {Record<string, string>} */
function label(text) {
  const at = text.indexOf("=");
  return at < 1 ? {} : { [text.slice(0, at)]: text.slice(at + 1) };
}
