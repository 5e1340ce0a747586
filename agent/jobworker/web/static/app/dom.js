// Elements without markup: every string that becomes text or an attribute that people read goes through `shown`.

import { shown, shownLines } from "./text.js";

/** Attributes that people read or that are read to them. */
const READ = new Set(["title", "aria-label", "placeholder", "alt"]);

/**
 * Lists may have lists in them.
 * @typedef {Node | string | number | boolean | null | undefined | readonly any[]} Child
 */

/**
 * Make an element. In `props`, functions are listeners (`onclick`), `true` is an attribute without a value, false and
 * null are none; `value`, `checked` and `disabled` are properties.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (["value", "checked", "disabled", "htmlFor", "className"].includes(name)) {
      /** @type {any} */ (element)[name] = value;
    } else element.setAttribute(name, value === true ? "" : READ.has(name) ? shown(value) : String(value));
  }
  append(element, children);
  return element;
}

/**
 * Replace what is in an element.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/**
 * Set the text of an element if it is another one: a screen reader and a selection notice each change.
 * @param {Element} element
 * @param {unknown} text
 */
export function setText(element, text) {
  const next = shown(text);
  if (element.textContent !== next) element.textContent = next;
}

/**
 * Return a text of several lines.
 * @param {unknown} text
 */
export function lines(text) {
  const element = document.createElement("span");
  element.className = "lines";
  element.textContent = shownLines(text);
  return element;
}

/** @param {Element} element @param {Child[]} children */
function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || typeof child === "boolean") continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : shown(child));
  }
}

let lastId = 0;

/**
 * Return a labelled field: a label above its input, and a hint.
 * @param {string} text
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} input
 * @param {string} [hint]
 */
export function field(text, input, hint) {
  input.id = `field-${++lastId}`;
  if (hint !== undefined) input.setAttribute("aria-describedby", `${input.id}-hint`);
  const label = h("label", { htmlFor: input.id }, text);
  const below = hint !== undefined && h("p", { class: "hint", id: `${input.id}-hint` }, hint);
  if (input.type === "checkbox") return h("div", { class: "field check" }, input, label, below);
  return h("div", { class: "field" }, label, input, below);
}

/**
 * Return the message of an error, with what to do next.
 * @param {any} error
 * @returns {HTMLElement}
 */
export function errorText(error) {
  const hint = typeof error?.hint === "string" ? error.hint : "";
  return h("div", { class: "error", role: "alert" }, h("p", null, error?.message ?? String(error)),
    hint !== "" && h("p", { class: "hint" }, hint));
}
