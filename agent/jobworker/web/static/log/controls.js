/** Buttons and choices. */

import { make } from "./paint.js";

/**
 * @param {string} text
 * @param {() => void} onclick
 * @param {{title?: string, key?: string, className?: string}} [more]
 */
export function button(text, onclick, { title = "", key = "", className = "" } = {}) {
  const element = make("button", className, text);
  element.type = "button";
  if (title) element.title = key ? `${title} (${key})` : title;
  if (title && text.length < 3) element.setAttribute("aria-label", title);
  if (key) element.setAttribute("aria-keyshortcuts", key);
  element.addEventListener("click", onclick);
  return element;
}

/**
 * @param {string} text
 * @param {string} title
 * @param {boolean} on
 * @param {(on: boolean) => void} onchange
 * @param {string} [key]
 */
export function toggle(text, title, on, onchange, key = "") {
  const element = button(text, () => {
    press(element, element.getAttribute("aria-pressed") !== "true");
    onchange(element.getAttribute("aria-pressed") === "true");
  }, { title, key, className: "log-toggle" });
  press(element, on);
  return element;
}

/** @param {HTMLElement} element @param {boolean} on */
export function press(element, on) {
  element.setAttribute("aria-pressed", String(on));
}

/**
 * @param {string} label
 * @param {[string, string][]} choices  values and texts
 */
export function select(label, choices) {
  const element = make("select");
  element.setAttribute("aria-label", label);
  for (const [value, text] of choices) {
    const option = element.appendChild(make("option", "", text));
    option.value = value;
  }
  return element;
}

/** @param {HTMLElement} element */
export function pressed(element) {
  return element.getAttribute("aria-pressed") === "true";
}
