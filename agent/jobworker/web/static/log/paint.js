/** Make the elements of rows: text nodes, classes and CSSOM only. Nothing of a log is ever taken for markup. */

import { BOLD, DIM, INVERSE, ITALIC, STRIKE, UNDERLINE, cut, parse } from "./ansi.js";
import { LINE_BYTES, bytesOfRow, within } from "./rows.js";

/** @typedef {import("./rows.js").Row} Row */

const FLAG_CLASSES = /** @type {[number, string][]} */ ([
  [BOLD, "bold"],
  [DIM, "dim"],
  [ITALIC, "italic"],
  [UNDERLINE, "underline"],
  [STRIKE, "strike"],
  [INVERSE, "inverse"],
]);
const REASONS = /** @type {Record<string, string>} */ ({
  dropped: "were dropped, as the oldest of a bounded log",
  refused: "were refused: the log was full",
  disk_full: "were lost: the disk was full",
  power_cut: "were lost in a power cut",
});
const count = new Intl.NumberFormat("en");

/** @param {number} number */
export function counted(number) {
  return count.format(number);
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/**
 * Return the element of a row.
 * @param {Row} row
 * @param {{style: import("./ansi.js").Style, hits: [number, number][], limit: number}} how  `hits`: offsets to mark;
 *   `limit`: bytes to show
 * @returns {HTMLElement}
 */
export function rowElement(row, { style, hits, limit }) {
  const element = make("div", "log-row");
  element.dataset.from = String(row.from);
  if (row.gap !== null) {
    element.classList.add("log-gap");
    element.append(make("span", "log-text", gapText(row)));
    return element;
  }
  element.classList.add(row.stream === "stderr" ? "log-stderr" : "log-stdout");
  element.append(make("span", "log-number"), timeElement(row.time));
  element.append(make("span", "log-stream", row.stream === "stderr" ? "err" : ""));
  const text = element.appendChild(make("span", "log-text"));
  if (row.size > LINE_BYTES) element.classList.add("log-long");
  if (!row.begins) text.append(make("span", "log-note log-middle", "⋯"));
  const data = cut(bytesOfRow(row, limit + 4), limit);
  const marks = hits.map(([from, to]) => within(row, from, to)).filter(([from, to]) => from < to);
  for (const run of parse(data, style, marks)) text.append(runNode(run));
  const rest = row.size - data.length;
  if (row.size > limit && rest > 0) {
    const more = make("button", "log-more", `show ${counted(Math.min(rest, LINE_BYTES))} more bytes`);
    more.type = "button";
    text.append(make("span", "log-note", ` … ${counted(rest)} more bytes `), more);
  }
  if (!text.firstChild) text.append(document.createElement("br")); // an empty row has the height of a line
  return element;
}

/** @param {Row} row */
function gapText(row) {
  return `${counted(row.to - row.from)} bytes ${REASONS[row.gap ?? ""] ?? `are missing: ${row.gap}`}`;
}

/** @param {string} time */
function timeElement(time) {
  const element = make("span", "log-time");
  const moment = new Date(time);
  if (!Number.isNaN(moment.getTime())) {
    const millis = String(moment.getMilliseconds()).padStart(3, "0");
    element.textContent = `${moment.toTimeString().slice(0, 8)}.${millis}`;
    element.title = time;
  }
  return element;
}

/** @param {import("./ansi.js").Run} run */
function runNode({ text, style, control, hit }) {
  const classes = [];
  const { fg, bg, flags } = style;
  if (fg && fg[0] !== "#") classes.push(`log-f${fg}`);
  if (bg && bg[0] !== "#") classes.push(`log-b${bg}`);
  if (flags) for (const [flag, name] of FLAG_CLASSES) if (flags & flag) classes.push(`log-${name}`);
  if (control) classes.push("log-control");
  if (!classes.length && !hit && fg === "" && bg === "") return document.createTextNode(text);
  const element = make(hit ? "mark" : "span", classes.join(" "), text);
  if (hit) element.classList.add("log-hit");
  const [front, back] = flags & INVERSE ? [bg, fg] : [fg, bg];
  if (front[0] === "#") element.style.color = front;
  if (back[0] === "#") element.style.backgroundColor = back;
  if (back[0] === "#" && front === "" && !hit) element.style.color = isLight(back) ? "#000000" : "#ffffff";
  return element;
}

/** @param {string} colour  "#rrggbb" */
function isLight(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return red * 0.299 + green * 0.587 + blue * 0.114 > 128;
}

/**
 * Put what is selected of rows into the clipboard, as text.
 * @param {ClipboardEvent} event
 * @param {Map<Element, Row>} rows
 */
export function copy(event, rows) {
  const selection = document.getSelection();
  const text = selection && copied(selection, rows);
  if (text === null || !event.clipboardData) return;
  event.clipboardData.setData("text/plain", text);
  event.preventDefault();
}

/**
 * Return what is selected of rows as text: a newline where a line ends, and none where a row is only a part of one.
 * @param {Selection} selection
 * @param {Map<Element, Row>} rows
 * @returns {string | null}
 */
function copied(selection, rows) {
  if (selection.isCollapsed || !selection.rangeCount) return null;
  const range = selection.getRangeAt(0);
  const pieces = [];
  for (const [element, row] of rows) {
    const text = element.querySelector(".log-text");
    if (!text || !selection.containsNode(element, true)) continue;
    const part = document.createRange();
    part.selectNodeContents(text);
    if (text.contains(range.startContainer)) part.setStart(range.startContainer, range.startOffset);
    const last = text.contains(range.endContainer);
    if (last) part.setEnd(range.endContainer, range.endOffset);
    const content = part.cloneContents();
    for (const note of content.querySelectorAll(".log-note, button")) note.remove();
    pieces.push(content.textContent + (row.ended && !last ? "\n" : ""));
  }
  return pieces.length ? pieces.join("") : null;
}
