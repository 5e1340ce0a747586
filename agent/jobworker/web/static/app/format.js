// Times, sizes, commands and outcomes as people read them: the same words as those of `jw`.

const UNITS = /** @type {const} */ ([[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]]);
const MAX_TEXT = 4000;
const SAFE = /^[\w@%+=:,./-]+$/;

/**
 * Return a duration: 3.2s, 14m, 2h5m.
 * @param {number} seconds
 */
export function span(seconds) {
  if (seconds < 60) return `${Math.max(seconds, 0).toFixed(1)}s`;
  for (const [index, [unit, letter]] of UNITS.entries()) {
    if (seconds < unit) continue;
    const [finer, fine] = UNITS[Math.min(index + 1, UNITS.length - 1)];
    const rest = Math.floor((seconds % unit) / finer);
    return `${Math.floor(seconds / unit)}${letter}${rest ? `${rest}${fine}` : ""}`;
  }
  return "";
}

/**
 * Return how long something is ago, in one unit, which need not be written anew each second.
 * @param {string} time
 */
export function age(time) {
  const seconds = Math.max((Date.now() - Date.parse(time)) / 1000, 0);
  const [unit, letter] = UNITS.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.floor(seconds / unit)}${letter}`;
}

/**
 * Return for how long a job has run, or ran; "" if it never did.
 * @param {any} job
 */
export function ran(job) {
  if (!job.started_at) return "";
  if (typeof job.exit?.ran_seconds === "number") return span(job.exit.ran_seconds);
  const until = job.exited_at ? Date.parse(job.exited_at) : Date.now();
  return span((until - Date.parse(job.started_at)) / 1000);
}

/** @param {number | null | undefined} count */
export function bytes(count) {
  if (typeof count !== "number") return "";
  if (count < 1024) return `${count} B`;
  let value = count;
  for (const unit of ["KiB", "MiB", "GiB", "TiB"]) {
    value /= 1024;
    if (value < 1024 || unit === "TiB") return `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
  }
  return "";
}

/**
 * Return a time as this place shows it; the full one is for the title.
 * @param {string} time
 */
export function clock(time) {
  const moment = new Date(time);
  if (Number.isNaN(moment.getTime())) return time;
  const today = moment.toDateString() === new Date().toDateString();
  const parts = today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "medium" };
  return moment.toLocaleString("en-GB", /** @type {any} */ (parts)).replace(/[\u202f\u00a0]/g, " ");
}

/** Return whether a job has ended. @param {any} job */
export function final(job) {
  return job.state === "exited" || job.state === "lost";
}

/**
 * Return state and outcome in a word or two.
 * @param {any} job
 */
export function state(job) {
  const end = job.exit;
  if (job.state !== "exited" || !end) return job.waiting ? `${job.state} (waits)` : job.state;
  const outcome = end.signal || (end.code ?? "");
  return `${end.reason === "finished" ? "exited" : end.reason.replaceAll("_", " ")} ${outcome}`.trimEnd();
}

/**
 * Return the kind of a state, for its colour and sign.
 * @param {any} job
 */
export function mood(job) {
  if (job.state === "running") return job.waiting ? "waiting" : "running";
  if (job.state !== "exited") return job.state;
  if (job.exit?.reason === "finished" && job.exit.code === 0) return "good";
  return job.exit?.reason === "stopped" || job.exit?.reason === "shutdown" ? "stopped" : "bad";
}

/**
 * Return what a job executes, as one line that a shell takes; bytes that are not UTF-8 as \xNN.
 * @param {any} spec
 */
export function command(spec) {
  return spec?.argv ? spec.argv.map((/** @type {any} */ word) => quoted(word)).join(" ") : decoded(spec?.shell ?? "");
}

/** @param {any} word */
export function quoted(word) {
  const text = decoded(word);
  if (typeof word === "object") return `$'${text}'`;
  return SAFE.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

/**
 * Return a text of a spec: a string, or `{"base64": …}` for bytes that are not UTF-8.
 * @param {any} text
 * @returns {string}
 */
export function decoded(text) {
  if (typeof text?.base64 !== "string") return String(text);
  const raw = atob(text.base64);
  return raw.replace(/[\\']|[^ -~]/g, (char) => {
    return /[\\']/.test(char) ? `\\${char}` : `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

/**
 * Return a text that has at most some thousand characters: a command may have megabytes.
 * @param {string} text
 */
export function cut(text) {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}… (${text.length} characters)`;
}

/** Return how a job is called in a sentence. @param {any} job */
export function title(job) {
  return job.name || job.id.slice(0, 12);
}

/** @param {Record<string, string> | null | undefined} labels */
export function labelTexts(labels) {
  return Object.entries(labels ?? {}).map(([name, value]) => `${name}=${value}`);
}
