// What programs ask a terminal: where its cursor is, what it can do. xterm.js answers as if its user had typed it.

const CSI = [
  { final: "c" }, { prefix: ">", final: "c" }, { prefix: "=", final: "c" }, // what it is
  { prefix: ">", final: "q" }, // its version
  { final: "n" }, { prefix: "?", final: "n" }, // its state, the cursor
  { intermediates: "$", final: "p" }, { prefix: "?", intermediates: "$", final: "p" }, // its modes
  { final: "t" }, // its size
];
const COLOURS = [4, 10, 11, 12];

/**
 * Answer queries only while `answers` returns true: of many viewers one answers, and old output gets no answer.
 * @param {any} terminal
 * @param {() => boolean} answers
 */
export function answerOnly(terminal, answers) {
  const { parser } = terminal;
  for (const id of CSI) parser.registerCsiHandler(id, () => !answers());
  parser.registerDcsHandler({ intermediates: "$", final: "q" }, () => !answers());
  for (const id of COLOURS) {
    parser.registerOscHandler(id, (/** @type {string} */ data) => data.includes("?") && !answers());
  }
}
