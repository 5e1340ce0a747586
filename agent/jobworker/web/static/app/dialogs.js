// Questions before something is done: each is a dialog of the browser, which keeps the focus and ends with Escape.

import { errorText, field, fill, h } from "./dom.js";
import { labelTexts } from "./format.js";

const SIGNALS = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGCONT", "SIGWINCH", "SIGKILL"];

/** @typedef {{title: string, text?: string, verb: string, danger?: boolean, fields?: HTMLElement[]}} Question */

/**
 * Ask, and do it; the dialog stays with the error if that fails.
 * @param {Question} question
 * @param {() => Promise<void>} act
 */
export function ask({ title, text, verb, danger, fields = [] }, act) {
  const trouble = h("div", null);
  const button = h("button", { class: danger ? "danger" : "primary" }, verb);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  let busy = false; // not `disabled`, which would lose the focus
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    fill(trouble);
    try {
      await act();
      dialog.close();
    } catch (error) {
      fill(trouble, errorText(error));
    }
    busy = false;
  };
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, h("form", { onsubmit: submit },
    h("h2", { id: "dialog-title" }, title), text !== undefined && h("p", null, text), fields, trouble,
    h("div", { class: "buttons" }, button, cancel)));
  dialog.addEventListener("close", () => {
    dialog.remove();
    // The button that opened the dialog may be gone, as what it did cannot be done again.
    if (document.activeElement === document.body) document.getElementById("main")?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

/** @typedef {{agent: import("../client/jobworker.js").Agent, job: any, name: string}} Subject */

/**
 * @param {Subject} subject
 * @param {(call: Promise<any>) => void} follow  takes the call, which lasts until the end of the stop
 */
export function askStop({ agent, job, name }, follow) {
  const usual = job.spec.stop?.grace ?? "as configured";
  const grace = h("input", { type: "text", placeholder: usual, spellcheck: "false" });
  const kill = h("input", { type: "checkbox", checked: job.state === "stopping" });
  const fields = [
    field("Kill at once", kill, "Without a signal that lets it end by itself."),
    field("Grace", grace, "Between the first signal and SIGKILL, as 10s."),
  ];
  const text = "The whole process tree ends.";
  ask({ title: `Stop ${name}?`, text, verb: "Stop", danger: true, fields }, async () => {
    const stop = kill.checked ? { strategy: "kill" } : grace.value.trim() ? { grace: duration(grace.value) } : null;
    const call = agent.call("job.stop", { id: job.id, stop });
    follow(call);
    // What is refused at once stays in the dialog; a stop that goes on does not keep it open.
    await Promise.race([call, new Promise((resolve) => setTimeout(resolve, 300))]);
  });
}

/** @param {Subject} subject @param {(text: string) => void} done */
export function askSignal({ agent, job, name }, done) {
  const list = h("datalist", { id: "signals" }, SIGNALS.map((value) => h("option", { value })));
  const signal = h("input", { type: "text", value: "SIGHUP", list: "signals", required: true, spellcheck: "false" });
  const target = h("select", null, h("option", { value: "all" }, "all its processes"),
    h("option", { value: "main" }, "the main process"));
  const fields = [field("Signal", signal), list, field("To", target)];
  ask({ title: `Send a signal to ${name}`, verb: "Send", fields }, async () => {
    const params = { id: job.id, signal: signal.value.trim(), target: target.value };
    const { delivered } = await agent.call("job.signal", params);
    done(`${params.signal} reached ${delivered === 1 ? "1 process" : `${delivered} processes`}.`);
  });
}

/** @param {Subject} subject @param {() => void} done */
export function askDelete({ agent, job, name }, done) {
  const text = "Its record and its log are removed.";
  ask({ title: `Delete ${name}?`, text, verb: "Delete", danger: true }, async () => {
    await agent.call("job.delete", { id: job.id });
    done();
  });
}

/** @param {Subject} subject @param {string[]} limits  which the host has @param {(job: any) => void} done */
export function askUpdate({ agent, job, name }, limits, done) {
  const { spec } = job;
  /** @param {any} value */
  const text = (value) => h("input", { type: "text", value: String(value ?? ""), spellcheck: "false" });
  const timeout = text(spec.timeout);
  const idle = text(spec.idle_timeout);
  const labels = text(labelTexts(job.labels).join(" "));
  const limit = limits.filter((kind) => ["memory", "cpus", "pids"].includes(kind)).map((kind) => {
    return { kind, input: text(spec.limits?.[kind]), before: String(spec.limits?.[kind] ?? "") };
  });
  const before = { timeout: timeout.value, idle: idle.value, labels: labels.value };
  // A label with a space is kept: it is changed by a client that does not split at spaces.
  const plain = labelTexts(job.labels).every((label) => !/\s/.test(label));
  const fields = [
    field("Timeout", timeout, "Since the start, as 10m; empty: none."),
    field("Idle timeout", idle, "Without output; empty: none."),
    ...(plain ? [field("Labels", labels, "As app=web tier=1.")] : []),
    ...limit.map(({ kind, input }) => field({ memory: "Memory", cpus: "CPUs", pids: "Tasks" }[kind] ?? kind, input,
      "Empty: no limit.")),
  ];
  ask({ title: `Change ${name}`, verb: "Change", fields }, async () => {
    /** @type {Record<string, any>} */
    const changes = {};
    if (timeout.value !== before.timeout) changes.timeout = duration(timeout.value);
    if (idle.value !== before.idle) changes.idle_timeout = duration(idle.value);
    if (labels.value !== before.labels) changes.labels = pairs(labels.value);
    for (const { kind, input, before } of limit) {
      if (input.value !== before) (changes.limits ??= {})[kind] = number(input.value);
    }
    if (Object.keys(changes).length === 0) return;
    done(await agent.call("job.update", { id: job.id, ...changes }));
  });
}

/** Return seconds as a number, other durations as they are: the agent checks them. @param {string} text */
export function duration(text) {
  return number(text);
}

/** @param {string} text @returns {number | string | null} */
export function number(text) {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  return /^-?\d+(\.\d+)?$/.test(trimmed) ? Number(trimmed) : trimmed;
}

/** Return the pairs K=V of a text, parted by spaces. @param {string} text @returns {Record<string, string>} */
export function pairs(text) {
  const found = text.split(/\s+/).filter((pair) => pair !== "").map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new Error(`labels: ${pair}; expected K=V`);
    return [pair.slice(0, at), pair.slice(at + 1)];
  });
  return Object.fromEntries(found);
}
