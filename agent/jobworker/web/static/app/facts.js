// What is known of a job: its facts, the receipt of its stop, what happened to it, what it uses.

import { fill, h, lines, setText } from "./dom.js";
import { bytes, clock, command, cut, decoded, labelTexts, ran, span } from "./format.js";
import { format } from "./route.js";

const MAX_ITEMS = 200; // of a list; a job may have been changed many times

/**
 * Return a list of facts; empty ones are left out.
 * @param {[string, import("./dom.js").Child][]} facts
 */
function table(facts) {
  const given = facts.filter(([, value]) => value !== null && value !== undefined && String(value) !== "");
  return h("dl", null, given.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

/** @param {string | null} time */
function moment(time) {
  return time ? h("time", { datetime: time, title: time }, clock(time)) : "";
}

/** @param {HTMLElement} element @param {any} job */
export function showFacts(element, job) {
  const { spec, exit, log } = job;
  const dropped = log.first_offset ? `, of which the first ${bytes(log.first_offset)} are no longer kept` : "";
  const limits = Object.entries(spec.limits ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
  const owned = h("a", { href: format(["jobs"], { owner: job.owner }) }, job.owner);
  fill(element, table([
    ["Why", exit && exit.message],
    ["By", exit?.by],
    ["Command", h("code", null, cut(command(spec)))],
    ["Folder", spec.cwd ? h("code", null, decoded(spec.cwd)) : ""],
    ["User", spec.user === undefined || spec.user === null ? "" : String(spec.user)],
    ["Owner", owned],
    ["Executor", spec.executor?.name],
    ["Node", job.node],
    ["Queued", job.queued?.reason],
    ["Pid", job.pid],
    ["Created", moment(job.created_at)],
    ["Started", moment(job.started_at)],
    ["Ended", moment(job.exited_at)],
    ["Ran", job.exited_at ? ran(job) : ""],
    ["Timeout", spec.timeout],
    ["Idle timeout", spec.idle_timeout],
    ["Limits", limits],
    ["Log", bytes(log.bytes) + dropped + (log.truncated ? ", some of it was never kept" : "")],
    ["Unread input", exit?.stdin_unread ? bytes(exit.stdin_unread) : ""],
    ["Writer", job.writer && `${job.writer.by} since ${clock(job.writer.since)}`],
    ["Waits", job.waiting && `for its input since ${clock(job.waiting.since)} ${job.waiting.prompt}`],
    ["Labels", labelTexts(job.labels).map((label) => [
      h("a", { class: "label", href: format(["jobs"], { label }) }, label), " ",
    ])],
    ["Id", h("code", null, job.id)],
  ]));
}

/** @param {any} process */
function processText(process) {
  return `${process.pid} ${process.command || process.name || ""}`;
}

/** @param {HTMLElement} element @param {any} receipt  of a stop; null: there is none */
export function showReceipt(element, receipt) {
  element.hidden = !receipt;
  if (!receipt) return;
  const sure = { complete: "for certain", best_effort: "as far as a search can find", none: "not proven" };
  const proof = /** @type {Record<string, string>} */ (sure)[receipt.proof] ?? receipt.proof;
  fill(element, h("h2", null, "Receipt of the stop"), table([
    ["Strategy", receipt.strategy],
    ["Method", receipt.method],
    ["Proof", `${receipt.proof} (${proof})`],
    ["Survivors", receipt.survivors.length === 0 ? "none" : h("ul", { class: "plain" },
      receipt.survivors.slice(0, MAX_ITEMS).map((/** @type {any} */ process) => h("li", null, processText(process))),
      receipt.survivors.length > MAX_ITEMS && h("li", null, `and ${receipt.survivors.length - MAX_ITEMS} more`))],
  ]), h("ol", { class: "steps" }, receipt.steps.slice(-MAX_ITEMS).map((/** @type {any} */ step) => h("li", null,
    moment(step.time), " ", stepText(step)))));
}

/** @param {any} step */
function stepText(step) {
  const what = step.action === "signal" ? `${step.signal} to ${step.target}` : step.action.replaceAll("_", " ");
  const counts = [[step.alive, "alive"], [step.delivered, "got it"]].filter(([count]) => typeof count === "number");
  return [what, ...counts.map((pair) => pair.join(" ")), step.detail ?? ""].filter((part) => part !== "").join(", ");
}

/** @param {HTMLElement} element @param {any} explanation */
export function showTimeline(element, explanation) {
  const earlier = explanation.chain.length - MAX_ITEMS;
  fill(element, h("p", null, cut(explanation.summary)), earlier > 0 && h("p", null, `Without the first ${earlier}.`),
    h("ol", { class: "timeline" }, explanation.chain.slice(-MAX_ITEMS).map((/** @type {any} */ link) => h("li", null,
      h("p", null, moment(link.time), " ", h("strong", null, link.what), link.by ? ` by ${link.by}` : ""),
      link.detail && h("p", { class: "detail" }, lines(cut(link.detail)))))));
}

/** What a job uses: the same elements with each reading, so that a selection stays. */
export class Usage {
  /** @type {Map<string, HTMLElement>} */
  #values = new Map();
  #list = h("dl", null);
  element = h("section", { class: "panel", "aria-labelledby": "usage-title", hidden: true },
    h("h2", { id: "usage-title" }, "Usage"), this.#list);

  /** @param {any} stats  of `job.stats` */
  show(stats) {
    const cpu = stats.cpu_seconds;
    this.#set("CPU time", typeof cpu === "number" ? span(cpu) : "");
    this.#set("Memory", bytes(stats.memory));
    this.#set("Memory at most", bytes(stats.memory_peak));
    this.#set("Tasks", stats.pids ?? "");
    this.#set("Tasks at most", stats.pids_peak ?? "");
    this.#set("Read", bytes(stats.io_read_bytes));
    this.#set("Written", bytes(stats.io_write_bytes));
    this.element.hidden = this.#values.size === 0;
  }

  /** @param {string} name @param {string | number} value */
  #set(name, value) {
    let shown = this.#values.get(name);
    if (shown === undefined) {
      if (value === "") return;
      shown = h("dd", null);
      this.#values.set(name, shown);
      this.#list.append(h("dt", null, name), shown);
    }
    setText(shown, value === "" ? "–" : value);
  }
}
