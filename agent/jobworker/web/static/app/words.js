// Part a line into words as a shell does, without variables, patterns and commands: those need a shell.

/**
 * Return the words of a line; throw for a quote without an end.
 * @param {string} line
 * @returns {string[]}
 */
export function split(line) {
  const words = [];
  /** @type {string | undefined} */
  let word;
  for (let at = 0; at < line.length; at += 1) {
    const char = line[at];
    if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (char === "'") {
      const end = line.indexOf("'", at + 1);
      if (end === -1) throw new Error("a quote ' has no end");
      word = (word ?? "") + line.slice(at + 1, end);
      at = end;
    } else if (char === '"') {
      const [text, end] = doubleQuoted(line, at + 1);
      word = (word ?? "") + text;
      at = end;
    } else if (char === "\\") {
      at += 1;
      if (at === line.length) throw new Error("a backslash at the end escapes nothing");
      if (line[at] !== "\n") word = (word ?? "") + line[at];
    } else word = (word ?? "") + char;
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** @param {string} line @param {number} at @returns {[string, number]} the text, and where its closing quote is */
function doubleQuoted(line, at) {
  let text = "";
  for (; at < line.length; at += 1) {
    if (line[at] === '"') return [text, at];
    if (line[at] === "\\" && '"\\$`\n'.includes(line[at + 1])) {
      at += 1;
      if (line[at] !== "\n") text += line[at];
    } else text += line[at];
  }
  throw new Error('a quote " has no end');
}
