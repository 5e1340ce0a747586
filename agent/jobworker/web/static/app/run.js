// Run a job: from a form, which a line as `jw run` takes it, or the spec of another job, can fill in.

import { pairs } from "./dialogs.js";
import { errorText, field, fill, h } from "./dom.js";
import { command, labelTexts } from "./format.js";
import { amount, duration, readLine } from "./options.js";
import { format } from "./route.js";
import { split } from "./words.js";

/** What the fields show; the rest of a spec is kept and shown as text. */
const SHOWN = [
  "argv", "shell", "name", "labels", "cwd", "user", "group", "env", "timeout", "idle_timeout", "stdin", "tty",
  "limits",
];
const LIMITS = ["memory", "cpus", "pids"];

/** @param {import("./jobs.js").Place} place @returns {import("./main.js").View} */
export function showRun(place) {
  const form = new RunForm(place);
  const like = place.route.query.get("like");
  const line = place.route.query.get("line");
  if (like !== null) void form.copy(like);
  else if (line !== null) form.read(line);
  document.title = "Run a job · jobworker";
  return { close() {} };
}

/** @param {Record<string, any>} [props] */
const text = (props) => h("input", { type: "text", spellcheck: "false", autocomplete: "off", ...props });
const check = () => h("input", { type: "checkbox" });

class RunForm {
  #line = text({ placeholder: "jw run --name build -- make test" });
  #command = text({ required: true });
  #shell = check();
  #name = text();
  #labels = text({ placeholder: "app=web tier=1" });
  #cwd = text({ placeholder: "the home of its user" });
  #user = text({ placeholder: "as configured" });
  #env = h("textarea", { spellcheck: "false", placeholder: "K=V" });
  #timeout = text({ placeholder: "as configured" });
  #idle = text({ placeholder: "none" });
  /** @type {Record<string, HTMLInputElement>} */
  #limits = {};
  #stdin = check();
  #tty = check();
  #start = h("input", { type: "checkbox", checked: true });
  #more = h("p", { class: "hint" });
  #trouble = h("div", null);
  #button = h("button", { class: "primary" }, "Run");
  /** What the fields do not show of the spec that filled them in. @type {any} */
  #rest = {};
  /** The same for each attempt with the same spec, so that a lost answer starts no second job. */
  #key = { spec: "", key: "" };

  /** @param {import("./jobs.js").Place} place */
  constructor({ main, session }) {
    this.session = session;
    const { capabilities = {} } = session.info;
    const kinds = LIMITS.filter((kind) => (capabilities.limits ?? []).includes(kind));
    for (const kind of kinds) this.#limits[kind] = text({ placeholder: "no limit" });
    const title = /** @type {Record<string, string>} */ ({ memory: "Memory", cpus: "CPUs", pids: "Tasks at most" });
    const fillIn = (/** @type {Event} */ event) => { event.preventDefault(); this.read(this.#line.value); };
    const run = (/** @type {Event} */ event) => void this.#run(event);
    fill(main, h("div", { class: "title" }, h("h1", null, "Run a job")),
      h("div", { class: "run" },
        h("form", { class: "line words", "aria-label": "From a line", onsubmit: fillIn },
          field("A line as jw run takes it", this.#line, "It fills in the form; nothing runs yet."),
          h("button", null, "Fill in")),
        this.#trouble,
        h("form", { class: "run", "aria-label": "Job", onsubmit: run },
          h("div", { class: "words" }, field("Command", this.#command,
            "Words as in a shell, with quotes. Variables, patterns and pipes need the box below.")),
          field("One line for /bin/sh", this.#shell),
          h("div", { class: "grid" },
            field("Name", this.#name), field("Labels", this.#labels), field("Folder", this.#cwd),
            capabilities.users === "any" && field("User", this.#user),
            field("Timeout", this.#timeout, "As 90s, 10m, 2h, or none."),
            field("Idle timeout", this.#idle, "Without output."),
            kinds.map((kind) => field(title[kind], this.#limits[kind], kind === "memory" ? "As 512m." : undefined))),
          field("Environment", this.#env, "One variable a line."),
          capabilities.stdin > 0 && field("With an input", this.#stdin),
          capabilities.terminal && field("With a terminal", this.#tty),
          session.access.creates("job.create") && field("Start it at once", this.#start),
          this.#more,
          h("div", { class: "buttons" }, this.#button))));
    this.#more.hidden = true;
  }

  /** Fill in the form from a line. @param {string} line */
  read(line) {
    this.#line.value = line;
    try {
      this.#fill(readLine(line));
      fill(this.#trouble);
      this.#button.focus();
    } catch (error) {
      fill(this.#trouble, errorText(error));
    }
  }

  /** Fill in the form from the spec of a job. @param {string} id */
  async copy(id) {
    try {
      this.#fill((await this.session.agent.call("job.status", { id })).spec);
    } catch (error) {
      fill(this.#trouble, errorText(error));
    }
  }

  /** @param {any} spec */
  #fill(spec) {
    this.#shell.checked = spec.shell !== undefined;
    this.#command.value = command(spec);
    this.#name.value = spec.name ?? "";
    this.#labels.value = labelTexts(spec.labels).join(" ");
    this.#cwd.value = spec.cwd ?? "";
    this.#user.value = [spec.user ?? "", spec.group].filter((part) => part !== undefined && part !== null).join(":");
    this.#env.value = Object.entries(spec.env ?? {}).map(([name, value]) => `${name}=${value}`).join("\n");
    this.#timeout.value = spec.timeout === null ? "none" : String(spec.timeout ?? "");
    this.#idle.value = String(spec.idle_timeout ?? "");
    this.#stdin.checked = typeof spec.stdin === "string";
    this.#tty.checked = Boolean(spec.tty);
    for (const [kind, input] of Object.entries(this.#limits)) input.value = String(spec.limits?.[kind] ?? "");
    const kept = Object.entries(spec.limits ?? {}).filter(([kind]) => !(kind in this.#limits));
    this.#rest = Object.fromEntries(Object.entries(spec).filter(([name]) => !SHOWN.includes(name)));
    if (kept.length) this.#rest.limits = Object.fromEntries(kept);
    if (typeof spec.tty === "object") this.#rest.tty = spec.tty;
    this.#more.hidden = Object.keys(this.#rest).length === 0;
    fill(this.#more, "Also: ", h("code", null, JSON.stringify(this.#rest)));
    if (!isPlain(spec)) {
      throw new Error("this spec has bytes that are not UTF-8, which a form cannot hold; jw rpc job.create can");
    }
  }

  /** @returns {any} */
  #spec() {
    const { tty, ...rest } = this.#rest;
    /** @type {any} */
    const spec = { ...rest };
    if (this.#shell.checked) spec.shell = this.#command.value;
    else spec.argv = split(this.#command.value);
    if (this.#name.value) spec.name = this.#name.value;
    const labels = pairs(this.#labels.value);
    if (Object.keys(labels).length) spec.labels = labels;
    if (this.#cwd.value) spec.cwd = this.#cwd.value;
    const [user, group] = this.#user.value.split(/:(.*)/s);
    if (user) spec.user = amount(user);
    if (group) spec.group = amount(group);
    const env = this.#env.value.split("\n").filter((line) => line.trim() !== "").map((line) => {
      const at = line.indexOf("=");
      if (at < 1) throw new Error(`environment: ${line}; expected K=V`);
      return [line.slice(0, at), line.slice(at + 1)];
    });
    if (env.length) spec.env = Object.fromEntries(env);
    const limit = this.#timeout.value.trim();
    if (limit) spec.timeout = limit === "none" ? null : duration(limit);
    if (this.#idle.value.trim()) spec.idle_timeout = duration(this.#idle.value.trim());
    for (const [kind, input] of Object.entries(this.#limits)) {
      if (input.value.trim()) spec.limits = { ...spec.limits, [kind]: duration(input.value.trim()) };
    }
    if (this.#stdin.checked) spec.stdin = "pipe";
    if (this.#tty.checked) spec.tty = tty ?? true;
    return spec;
  }

  /** @param {Event} event */
  async #run(event) {
    event.preventDefault();
    this.#button.disabled = true;
    const { agent } = this.session;
    let created = "";
    try {
      const spec = this.#spec();
      const json = JSON.stringify(spec);
      if (this.#key.spec !== json) this.#key = { spec: json, key: `page-${crypto.randomUUID()}` };
      const job = await agent.call("job.create", { spec, key: this.#key.key });
      created = job.id;
      if (this.#start.checked && job.state === "created") await agent.call("job.start", { id: job.id });
      location.hash = format(["jobs", job.id]);
    } catch (error) {
      const link = created && h("p", null, h("a", { href: format(["jobs", created]) }, "The job was created."));
      fill(this.#trouble, errorText(error), link);
      this.#trouble.scrollIntoView({ block: "nearest" });
    }
    this.#button.disabled = false;
  }
}

/** Whether all texts of a spec are strings. @param {any} spec */
function isPlain(spec) {
  const texts = [...(spec.argv ?? []), spec.shell ?? "", spec.cwd ?? "", ...Object.values(spec.env ?? {})];
  return texts.every((one) => typeof one === "string");
}

