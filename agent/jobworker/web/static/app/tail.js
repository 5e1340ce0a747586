// The end of a log, as plain text.

import { h } from "./dom.js";
import { shownLines } from "./text.js";

const MAX_CHARACTERS = 65536;
const COLOURS = /\x1b\[[0-9;:]{0,64}m/g;

/**
 * Show the end of a job's log and follow it.
 * @param {HTMLElement} element
 * @param {import("../client/jobworker.js").Agent} agent
 * @param {string} id
 */
export function mountTail(element, agent, id) {
  const text = h("pre", { tabindex: "0", "aria-label": "Output", role: "region" });
  element.append(text);
  const ended = new AbortController();
  void follow(text, agent, id, ended.signal).catch(() => {});
  return { close: () => ended.abort() };
}

/**
 * @param {HTMLPreElement} element
 * @param {import("../client/jobworker.js").Agent} agent
 * @param {string} id
 * @param {AbortSignal} signal
 */
async function follow(element, agent, id, signal) {
  const { end } = await agent.call("log.read", { id, offset: 0, max_bytes: 1 }, { signal });
  const decoders = new Map();
  const text = document.createTextNode("");
  element.append(text);
  for await (const piece of agent.logs(id, { offset: Math.max(end - MAX_CHARACTERS, 0), signal })) {
    if (piece.kind !== "data") continue;
    let decoder = decoders.get(piece.stream);
    if (decoder === undefined) decoders.set(piece.stream, decoder = new TextDecoder());
    const plain = decoder.decode(piece.bytes, { stream: true }).replace(COLOURS, "").replace(/\r\n/g, "\n");
    const more = shownLines(plain);
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
    text.data = (text.data + more).slice(-MAX_CHARACTERS);
    if (atEnd) element.scrollTop = element.scrollHeight;
  }
}
