/**
 * Turn bytes of a log into runs of text with a style: SGR colours are obeyed, every other control character is text.
 *
 * It is the rule that `jw` has on a terminal; tests/data/sanitise.json has the cases of both. No document here.
 */

/** @typedef {{fg: string, bg: string, flags: number}} Style  colours: "" (the default), "0" to "15", or "#rrggbb" */
/** @typedef {{text: string, style: Style, control: boolean, hit: boolean}} Run */

const MAX_COLOUR_CHARACTERS = 64; // in the parameters of a colour; a longer sequence is none
const MAX_RUNS = 200; // of one row: what follows has no more colours, so that no line makes thousands of elements
const ESC = 0x1b;

export const BOLD = 1;
export const DIM = 2;
export const ITALIC = 4;
export const UNDERLINE = 8;
export const INVERSE = 16;
export const STRIKE = 32;

/** @type {Style} */
export const PLAIN = Object.freeze({ fg: "", bg: "", flags: 0 });

/** By SGR parameter: the flags that it sets and clears. Concealed text (8) is shown: a log hides nothing. */
const FLAGS = /** @type {Record<number, [number, number]>} */ ({
  1: [BOLD, 0],
  2: [DIM, 0],
  3: [ITALIC, 0],
  4: [UNDERLINE, 0],
  7: [INVERSE, 0],
  9: [STRIKE, 0],
  21: [UNDERLINE, 0],
  22: [0, BOLD | DIM],
  23: [0, ITALIC],
  24: [0, UNDERLINE],
  27: [0, INVERSE],
  29: [0, STRIKE],
});

/**
 * Return the style after a colour sequence.
 * @param {Style} style
 * @param {string} params  between "ESC [" and "m"
 * @returns {Style}
 */
export function restyled(style, params) {
  let { fg, bg, flags } = style;
  const fields = params.split(";");
  for (let at = 0; at < fields.length; at++) {
    const parts = fields[at].split(":");
    const code = Number(parts[0] || 0);
    if (code === 0) {
      [fg, bg, flags] = ["", "", 0];
    } else if (code === 4 && parts[1] === "0") {
      flags &= ~UNDERLINE;
    } else if (FLAGS[code]) {
      flags = (flags & ~FLAGS[code][1]) | FLAGS[code][0];
    } else if (code === 38 || code === 48 || code === 58) {
      const colon = parts.length > 1;
      const [colour, used] = extended(colon ? parts.slice(1) : fields.slice(at + 1), colon);
      if (!colon) at += used;
      if (code === 38) fg = colour ?? fg;
      if (code === 48) bg = colour ?? bg;
    } else if (code === 39) {
      fg = "";
    } else if (code === 49) {
      bg = "";
    } else if (code >= 30 && code <= 37) {
      fg = String(code - 30);
    } else if (code >= 40 && code <= 47) {
      bg = String(code - 40);
    } else if (code >= 90 && code <= 97) {
      fg = String(code - 82);
    } else if (code >= 100 && code <= 107) {
      bg = String(code - 92);
    }
  }
  return { fg, bg, flags };
}

/**
 * Return the colour after 38, 48 or 58, null if it is none, and how many fields it took.
 * @param {string[]} fields
 * @param {boolean} colon  whether there may be a colour space before red
 * @returns {[string | null, number]}
 */
function extended(fields, colon) {
  const kind = Number(fields[0] || 0);
  if (kind === 5) return [indexed(Number(fields[1] || 0)), 2];
  if (kind !== 2) return [null, fields.length];
  const from = colon && fields.length > 4 ? 2 : 1;
  const rgb = [0, 1, 2].map((n) => Number(fields[from + n] || 0));
  return [rgb.every((value) => value <= 255) ? hex(rgb) : null, 4];
}

/**
 * @param {number} index  of 256 colours
 * @returns {string | null}
 */
function indexed(index) {
  if (index > 255) return null;
  if (index < 16) return String(index);
  if (index > 231) return hex([0, 0, 0].fill(8 + 10 * (index - 232)));
  const cube = index - 16;
  return hex([Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((n) => (n ? 55 + 40 * n : 0)));
}

/** @param {number[]} rgb */
function hex(rgb) {
  return "#" + rgb.map((value) => value.toString(16).padStart(2, "0")).join("");
}

/**
 * Return the parameters of the colour sequence at a place, null if there is none.
 * @param {Uint8Array} data
 * @param {number} at  of an ESC
 * @returns {string | null}
 */
export function colourAt(data, at) {
  if (data[at + 1] !== 0x5b) return null;
  const last = Math.min(data.length - 1, at + 2 + MAX_COLOUR_CHARACTERS);
  for (let end = at + 2; end <= last; end++) {
    const byte = data[end];
    if (byte === 0x6d) return String.fromCharCode(...data.subarray(at + 2, end));
    if (byte < 0x30 || byte > 0x3b) return null;
  }
  return null;
}

/**
 * Return the runs of one line, without its newline.
 * @param {Uint8Array} data
 * @param {Style} [style]  at the begin
 * @param {[number, number][]} [hits]  bytes to mark: begins and ends, in order, which do not overlap
 * @returns {Run[]}
 */
export function parse(data, style = PLAIN, hits = []) {
  /** @type {Run[]} */
  const runs = [];
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let plain = 0; // where the bytes begin that are text and not yet in a run
  let hit = 0; // the number of the next hit that ends beyond this place
  let inside = false;
  /** @param {string} text @param {boolean} control */
  const put = (text, control) => {
    const last = runs[runs.length - 1];
    const full = runs.length >= MAX_RUNS;
    if (last && last.hit === inside && last.control === control && (last.style === style || full)) last.text += text;
    else runs.push({ text, style, control, hit: inside });
  };
  /** @param {number} to */
  const flush = (to) => {
    if (to > plain) put(decoder.decode(data.subarray(plain, to)), false);
  };
  for (let at = 0; at < data.length; ) {
    while (hit < hits.length && hits[hit][1] <= at) hit++;
    const marked = hit < hits.length && hits[hit][0] <= at;
    if (marked !== inside) {
      flush(at);
      plain = at;
      inside = marked;
    }
    const byte = data[at];
    if (byte >= 0x20 && byte < 0x7f) {
      at++;
      continue;
    }
    if (byte === 0x09) {
      at++;
      continue;
    }
    const params = byte === ESC ? colourAt(data, at) : null;
    const size = byte < 0x80 ? 0 : characterAt(data, at);
    const shown = params === null ? escaped(data, at, size) : null;
    if (params === null && shown === null) {
      at += size;
      continue;
    }
    flush(at);
    if (params !== null) {
      at += params.length + 3;
      if (runs.length < MAX_RUNS) style = restyled(style, params);
    } else {
      put(shown ?? "", true);
      at += Math.max(1, size);
    }
    plain = at;
  }
  flush(data.length);
  return runs;
}

/**
 * Return how a character is shown that must not be obeyed; null for one that is text.
 * @param {Uint8Array} data
 * @param {number} at
 * @param {number} size  of the character in bytes; 0 if it is ASCII, or none
 * @returns {string | null}
 */
function escaped(data, at, size) {
  const byte = data[at];
  if (size === 0) {
    if (byte === 0x0d) return "\\r";
    if (byte === 0x0a) return "\\n";
    return "\\x" + byte.toString(16).padStart(2, "0");
  }
  if (size === 2) {
    const code = ((byte & 0x1f) << 6) | (data[at + 1] & 0x3f);
    if (code < 0xa0) return "\\x" + code.toString(16);
    return code === 0x61c ? "\\u061c" : null;
  }
  if (size === 3 && byte === 0xe2) {
    const code = 0x2000 | ((data[at + 1] & 0x3f) << 6) | (data[at + 2] & 0x3f);
    const turns = code === 0x200e || code === 0x200f || (code >= 0x2028 && code <= 0x202e);
    if (turns || (code >= 0x2066 && code <= 0x2069)) return "\\u" + code.toString(16);
  }
  return null;
}

/**
 * Return the size of the UTF-8 character at a place, 0 if the bytes are none.
 * @param {Uint8Array} data
 * @param {number} at
 */
export function characterAt(data, at) {
  const [first, second] = [data[at], data[at + 1]];
  const size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (!size || at + size > data.length) return 0;
  for (let next = at + 1; next < at + size; next++) if ((data[next] & 0xc0) !== 0x80) return 0;
  const wrong =
    (first === 0xe0 && second < 0xa0) || // longer than needed
    (first === 0xed && second > 0x9f) || // a surrogate
    (first === 0xf0 && second < 0x90) ||
    (first === 0xf4 && second > 0x8f);
  return wrong ? 0 : size;
}

/**
 * Return at most `limit` bytes, cut before a character that would go beyond it.
 * @param {Uint8Array} data
 * @param {number} limit
 */
export function cut(data, limit) {
  if (data.length <= limit) return data;
  let end = limit;
  while (end > limit - 4 && end > 0 && (data[end] & 0xc0) === 0x80) end--;
  return data.subarray(0, end);
}
