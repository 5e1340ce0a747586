// What can be done to a job: a button for each thing that its state and the grants of the caller allow.

import { askDelete, askSignal, askStop, askUpdate } from "./dialogs.js";
import { fill, h } from "./dom.js";
import { final, title } from "./format.js";
import { format } from "./route.js";

/** @typedef {import("./session.js").Session} Session */
/**
 * @typedef {{
 *   report: (text: string) => void, fail: (error: any) => void,
 *   stopping: (call: Promise<any>) => void, changed: (job: any) => void, deleted: () => void,
 * }} Outcome  `report` takes a sentence, `changed` the job that a call has answered
 */
/**
 * @typedef {{text: string, method: string, states: (job: any) => boolean, danger?: boolean,
 *   act: (session: Session, job: any, outcome: Outcome) => void | Promise<void>}} Action
 */

/** @param {string} verb @returns {Action["act"]} */
const call = (verb) => async (session, job, outcome) => {
  outcome.changed(await session.agent.call(`job.${verb}`, { id: job.id }));
};
/** @param {...string} states */
const within = (...states) => (/** @type {any} */ job) => states.includes(job.state);

/** @type {Action[]} */
const ACTIONS = [
  { text: "Start", method: "job.start", states: within("created"), act: call("start") },
  { text: "Resume", method: "job.resume", states: within("paused"), act: call("resume") },
  {
    text: "Stop…", method: "job.stop", states: within("queued", "running", "paused", "stopping"), danger: true,
    act: (session, job, outcome) => askStop({ agent: session.agent, job, name: title(job) }, outcome.stopping),
  },
  { text: "Pause", method: "job.pause", states: within("running"), act: call("pause") },
  {
    text: "Signal…", method: "job.signal", states: within("running", "paused", "stopping"),
    act: (session, job, outcome) => askSignal({ agent: session.agent, job, name: title(job) }, outcome.report),
  },
  {
    text: "Change…", method: "job.update", states: (job) => !final(job),
    act: (session, job, outcome) => {
      const limits = session.info.capabilities?.limits ?? [];
      askUpdate({ agent: session.agent, job, name: title(job) }, limits, outcome.changed);
    },
  },
  {
    text: "Delete…", method: "job.delete", danger: true, states: (job) => final(job) || job.state === "created",
    act: (session, job, outcome) => askDelete({ agent: session.agent, job, name: title(job) }, outcome.deleted),
  },
];

/** The row of buttons; it changes only if other things can be done, so that the focus stays. */
export class Actions {
  #texts = "";
  element = h("div", { class: "actions", role: "group", "aria-label": "Actions" });

  /** @param {Session} session @param {Outcome} outcome */
  constructor(session, outcome) {
    this.session = session;
    this.outcome = outcome;
    /** @type {any} */
    this.job = undefined;
  }

  /** @param {any} job */
  show(job) {
    this.job = job;
    const { access } = this.session;
    const offered = ACTIONS.filter(({ method, states }) => states(job) && access.controls(method, job));
    const again = access.creates("job.create");
    const texts = [...offered.map(({ text }) => text), again].join();
    if (texts === this.#texts) return;
    this.#texts = texts;
    const focused = this.element.contains(document.activeElement);
    fill(this.element, offered.map((action) => this.#button(action)),
      again && h("a", { class: "button", href: format(["run"], { like: job.id }) }, "Run again…"));
    this.element.hidden = this.element.childElementCount === 0;
    if (focused) /** @type {HTMLElement | null} */ (this.element.firstElementChild)?.focus();
  }

  /** @param {Action} action */
  #button(action) {
    let busy = false; // not `disabled`, which would lose the focus
    const act = async () => {
      if (busy) return;
      busy = true;
      try {
        await action.act(this.session, this.job, this.outcome);
      } catch (error) {
        this.outcome.fail(error);
      }
      busy = false;
    };
    return h("button", { class: action.danger ? "danger" : null, onclick: act }, action.text);
  }
}
