// The one place that makes text of others harmless: names, labels, commands, errors. The rule is that of `jw`.

// What Python's str.isprintable() refuses: control and format characters (also those that change the direction of
// text), surrogates, private and unassigned ones, and spaces that are not " ".
const UNPRINTABLE = /[\p{C}\p{Z}]/gu;
/** @type {Record<string, string>} */
const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/**
 * Return text on one line, with every character that is not printable escaped as Python escapes it.
 * @param {unknown} text
 * @returns {string}
 */
export function shown(text) {
  return String(text).replace(UNPRINTABLE, (char) => (char === " " ? char : escaped(char)));
}

/**
 * Return text whose lines and tabs stay, the rest as `shown`.
 * @param {unknown} text
 * @returns {string}
 */
export function shownLines(text) {
  return String(text).replace(UNPRINTABLE, (char) => (" \n\t".includes(char) ? char : escaped(char)));
}

/** @param {string} char */
function escaped(char) {
  const code = char.codePointAt(0) ?? 0;
  if (char in SHORT) return SHORT[char];
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}
