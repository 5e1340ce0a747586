/** Places in a log as links and fields have them: a byte, a line, a time. */

/**
 * @typedef {{offset?: number, line?: number, time?: string} | "start" | "end"} Position
 * @typedef {{offset: number | null, follow: boolean, streams: string[] | null, query: string, regex: boolean,
 *   case: boolean}} Place  what `onchange` gets; `offset` is null at the end of a log that is followed
 */

const LINE_CALLS = 240; // of half a second, in which the agent counts lines

export const EXPECTED = {
  line: "the number of a line",
  offset: "a number of bytes",
  time: "14:05, 10m ago or 2030-01-31 14:05",
};

/**
 * Return the moment that a text means, in the past if it is only a time of day, as `log.subscribe` takes it.
 * @param {string} text  "14:05", "10m", "10m ago", "2030-01-31 12:00" or with a zone
 * @param {Date} [now]
 * @returns {string | null}  null if it means none
 */
export function moment(text, now = new Date()) {
  const ago = /^(\d+(?:\.\d+)?\s*(?:ms|s|m|h|d))+(?:\s+ago)?$/i.exec(text);
  if (ago) return text.replace(/\s+ago$/i, "").replace(/\s/g, "");
  const clock = /^(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d+)?))?$/.exec(text);
  if (clock) {
    const day = new Date(now);
    const seconds = Number(clock[3] ?? 0);
    day.setHours(Number(clock[1]), Number(clock[2]), Math.floor(seconds), (seconds % 1) * 1000);
    if (day > now) day.setDate(day.getDate() - 1);
    return day.toISOString();
  }
  if (!/^\d{4}-\d\d-\d\d/.test(text)) return null;
  const exact = new Date(text.replace(" ", "T"));
  return Number.isNaN(exact.getTime()) ? null : exact.toISOString();
}

/**
 * Return the number in a text, which may be in groups: "1,000"; null if it is none.
 * @param {string} text
 */
export function number(text) {
  const digits = text.replace(/[\s,_.']/g, "");
  return /^\d{1,15}$/.test(digits) ? Number(digits) : null;
}

/**
 * Return the options of `mountLog` that the query of a link means.
 * @param {URLSearchParams} params
 */
export function optionsOf(params) {
  const offset = number(params.get("offset") ?? "");
  const line = number(params.get("line") ?? "");
  const time = params.get("time");
  const stream = params.get("stream");
  /** @type {Position | undefined} */
  let position = undefined;
  if (offset !== null) position = { offset };
  else if (line !== null) position = { line };
  else if (time) position = { time };
  return {
    position,
    streams: stream === "stdout" || stream === "stderr" ? [stream] : null,
    query: params.get("q") ?? "",
    regex: params.get("regex") === "1",
    case: params.get("case") !== "0",
  };
}

/**
 * Return the query of a link to a place.
 * @param {Place} place
 * @returns {URLSearchParams}
 */
export function paramsOf({ offset, streams, query, regex, case: same }) {
  const params = new URLSearchParams();
  if (offset !== null) params.set("offset", String(offset));
  if (streams?.length === 1) params.set("stream", streams[0]);
  if (query) params.set("q", query);
  if (query && regex) params.set("regex", "1");
  if (query && !same) params.set("case", "0");
  return params;
}

/**
 * Return the place that was typed; null if it is none.
 * @param {import("./toolbar.js").Unit} unit
 * @param {string} text
 * @returns {Position | null}
 */
export function positionOf(unit, text) {
  const value = unit === "time" ? moment(text) : number(text);
  return value === null ? null : /** @type {Position} */ ({ [unit]: value });
}

/**
 * Return where a line begins, or what arrived at a time or later.
 * @param {{line?: number, time?: string}} position
 * @param {any} agent
 * @param {string} id
 * @param {import("./calls.js").Calls} calls
 * @returns {Promise<number>}
 */
export function offsetOf({ line, time }, agent, id, calls) {
  return line === undefined ? timeOffset(agent, id, time ?? "") : lineOffset(calls, line);
}

/**
 * Return where a line begins; the end of the log if it has fewer.
 * @param {import("./calls.js").Calls} calls
 * @param {number} line
 * @returns {Promise<number>}
 */
async function lineOffset(calls, line) {
  for (let count = 0; count < LINE_CALLS; count++) {
    const answer = await calls.call("log.lines", { line: Math.max(1, line), count: 1 });
    if (answer.complete) return answer.lines[0]?.offset ?? answer.end;
  }
  throw new Error("the agent takes too long to count the lines");
}

/**
 * Return the offset of what arrived at a time or later.
 * @param {any} agent
 * @param {string} id
 * @param {string} time  as `log.subscribe` takes it
 * @returns {Promise<number>}
 */
async function timeOffset(agent, id, time) {
  // The range is empty: nothing but its end comes.
  for await (const piece of agent.logs(id, { since: time, until: time, follow: false })) {
    return piece.kind === "gap" ? piece.from : piece.offset;
  }
  return 0;
}
