// The terminal of a job in xterm.js: its screen at once, then what follows; many watch, one types.

import { JobworkerError } from "../client/jobworker.js";
import { Keyboard } from "./keyboard.js";
import { obeyPolicy } from "./policy.js";
import { answerOnly } from "./queries.js";

const XTERM = new URL("../vendor/xterm-6.0.0/", import.meta.url);
const TAIL_BYTES = 256 << 10; // of the log, to draw a screen from if the agent knows none
const BEHIND_BYTES = 4 << 20; // more than this behind, the screen is drawn again in place of all that was before it
const TEXT_MS = 250; // between two changes of the screen as text
const SIZE_MS = 1000; // between two looks at the size, while there is output
const FIT_MS = 100; // after the last change of the page, before the size of the terminal is changed
const SCROLLBAR_PIXELS = 16;
const MIN_ROWS = 4, MIN_COLS = 20; // smaller ones are of no use, and a page that is being drawn may have them
const THEME = { background: "#14171c", foreground: "#e4e7ec", cursor: "#e4e7ec", selectionBackground: "#3b5b8c" };
const encoder = new TextEncoder();

/**
 * Show the terminal of a job in an element, until `close` is called.
 * @param {HTMLElement} element
 * @param {import("../client/jobworker.js").Agent} agent
 * @param {string | {id: string}} job
 * @param {{canType?: boolean}} [options]  false: only watch
 */
export function mountTerminal(element, agent, job, { canType = true } = {}) {
  const view = new View(element, agent, typeof job === "string" ? job : job.id, canType);
  void view.run();
  return { close: () => view.close(), focus: () => view.focus() };
}

class View {
  #agent;
  #id;
  #root = make("div", "term");
  #note = make("p", "term-note");
  #action = /** @type {HTMLButtonElement} */ (make("button", "term-action"));
  #toggle = /** @type {HTMLButtonElement} */ (make("button", "term-toggle"));
  #screen = make("div", "term-screen");
  #text = make("pre", "term-text");
  #keyboard;
  /** @type {any} */
  #terminal;
  #ended = new AbortController();
  /** Whether the output that is being written may be answered. */
  #answering = false;
  #exit = "";
  /** @type {any} */
  #textTimer;
  /** @type {any} */
  #fitTimer;
  #sizeSeen = 0;
  #observer = new ResizeObserver(() => this.#fitSoon());

  /**
   * @param {HTMLElement} element
   * @param {import("../client/jobworker.js").Agent} agent
   * @param {string} id
   * @param {boolean} canType
   */
  constructor(element, agent, id, canType) {
    this.#agent = agent;
    this.#id = id;
    this.#keyboard = new Keyboard(agent, id, () => this.#changed());
    if (!canType) this.#keyboard.refuse();
    const bar = make("div", "term-bar");
    this.#note.setAttribute("role", "status");
    this.#note.id = `term-note-${id}`;
    this.#action.type = this.#toggle.type = "button";
    this.#action.addEventListener("click", () => this.#act());
    this.#toggle.textContent = "Screen as text";
    this.#toggle.setAttribute("aria-pressed", "false");
    this.#toggle.addEventListener("click", () => {
      const shown = this.#text.classList.toggle("shown");
      this.#toggle.setAttribute("aria-pressed", String(shown));
      this.#writeText();
    });
    this.#text.setAttribute("role", "region");
    this.#text.setAttribute("aria-label", "Screen as text");
    this.#text.tabIndex = 0;
    bar.append(this.#note, this.#action, this.#toggle);
    this.#root.append(bar, this.#screen, this.#text);
    element.append(this.#root);
    this.#changed();
  }

  close() {
    this.#ended.abort();
    clearTimeout(this.#textTimer);
    clearTimeout(this.#fitTimer);
    this.#observer.disconnect();
    void this.#keyboard.release();
    this.#terminal?.dispose();
    this.#root.remove();
  }

  focus() {
    this.#terminal?.focus();
  }

  async run() {
    const { signal } = this.#ended;
    try {
      await Promise.all([loadStyle(), this.#open()]);
      if (signal.aborted) return;
      const { state } = this.#agent;
      let lost = state !== "connected";
      this.#agent.addEventListener("state", () => {
        if (this.#agent.state === "connected" && lost) void this.#keyboard.back();
        lost = this.#agent.state !== "connected";
      }, { signal });
      void this.#watch();
      await this.#follow();
    } catch (error) {
      if (signal.aborted) return;
      this.#exit = error instanceof JobworkerError ? `The terminal cannot be shown: ${error.message}` : String(error);
      this.#keyboard.end();
    }
  }

  async #open() {
    const { Terminal } = await import(new URL("xterm.mjs", XTERM).href);
    if (this.#ended.signal.aborted) return;
    obeyPolicy();
    const terminal = (this.#terminal = new Terminal({
      fontFamily: getComputedStyle(this.#text).fontFamily,
      fontSize: 14,
      scrollback: 5000,
      minimumContrastRatio: 4.5,
      linkHandler: { activate: () => {} }, // a link comes from the output of the job: nothing is opened
      theme: THEME,
    }));
    terminal.open(this.#screen);
    terminal.textarea.setAttribute("aria-label", "Type into the terminal");
    terminal.textarea.setAttribute("aria-describedby", this.#note.id);
    answerOnly(terminal, () => this.#answering);
    terminal.onData((/** @type {string} */ data) => this.#keyboard.type(encoder.encode(data)));
    terminal.onBinary((/** @type {string} */ data) => {
      this.#keyboard.type(Uint8Array.from(data, (character) => character.charCodeAt(0)));
    });
    terminal.attachCustomKeyEventHandler((/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.#screen.addEventListener("pointerdown", () => {
      if (this.#keyboard.state === "free") void this.#keyboard.claim();
    });
    this.#observer.observe(this.#screen);
  }

  /** Whether xterm.js takes a key; else the page does. @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "F6" && event.shiftKey) {
      if (event.type === "keydown") this.#text.focus();
      return false;
    }
    return this.#keyboard.state === "mine" || event.key !== "Tab";
  }

  /** Draw the screen and what follows, to the end of the log. */
  async #follow() {
    const { signal } = this.#ended;
    let from = 0;
    for (;;) {
      from = await this.#draw(from);
      let checked = from;
      let again = false;
      for await (const piece of this.#agent.logs(this.#id, { offset: from, signal })) {
        if (piece.kind === "end") return this.#over(piece);
        from = piece.kind === "gap" ? piece.to : piece.end;
        if (piece.kind === "gap") {
          again = true;
        } else {
          this.#answering = this.#keyboard.state === "mine" && piece.offset >= this.#keyboard.answersFrom;
          await this.#write(piece.bytes);
          this.#answering = false;
          again = await this.#resized();
          if (from - checked > BEHIND_BYTES) {
            checked = from;
            again ||= (await this.#job()).log.bytes - from > BEHIND_BYTES;
          }
        }
        if (again) break;
      }
    }
  }

  /** Draw the screen as it is; return the offset of the output that follows. @param {number} least */
  async #draw(least) {
    const { signal } = this.#ended;
    try {
      const screen = await this.#agent.screen.read({ id: this.#id, ansi: true }, { signal });
      this.#terminal.reset();
      this.#terminal.resize(screen.cols, screen.rows);
      await this.#write(screen.ansi ?? "");
      return Math.max(screen.offset, least);
    } catch (error) {
      if (!(error instanceof JobworkerError) || error.code === 0 || error.code === 40401) throw error;
      // No model of the screen: too large a terminal, or not allowed. The last part of the log draws most of it.
      const { bytes, first_offset: first } = (await this.#job()).log;
      this.#terminal.reset();
      await this.#resized();
      return Math.max(first, least, bytes - TAIL_BYTES);
    }
  }

  #job() {
    return this.#agent.job.status({ id: this.#id }, { signal: this.#ended.signal });
  }

  /** Take the size that another has given the terminal; return whether it is another than before. */
  async #resized() {
    if (this.#keyboard.state === "mine" || Date.now() - this.#sizeSeen < SIZE_MS) return false;
    this.#sizeSeen = Date.now();
    const { sizes } = await this.#agent.log.sizes({ id: this.#id }, { signal: this.#ended.signal });
    const { rows, cols } = sizes[sizes.length - 1] ?? this.#terminal;
    if (rows === this.#terminal.rows && cols === this.#terminal.cols) return false;
    this.#terminal.resize(cols, rows);
    return true;
  }

  /** @param {Uint8Array | string} data */
  async #write(data) {
    await new Promise((resolve) => this.#terminal.write(data, resolve));
    this.#textTimer ??= setTimeout(() => this.#writeText(), TEXT_MS);
  }

  /** Write the screen as text, for those who do not see it. */
  #writeText() {
    this.#textTimer = undefined;
    if (this.#terminal === undefined || this.#ended.signal.aborted) return;
    const { active } = this.#terminal.buffer;
    const lines = [];
    for (let row = 0; row < this.#terminal.rows; row++) {
      lines.push(active.getLine(active.baseY + row)?.translateToString(true) ?? "");
    }
    const text = lines.join("\n").trimEnd();
    if (this.#text.textContent !== text) this.#text.textContent = text;
  }

  /** Learn from events of the job who types, and that it has ended. */
  async #watch() {
    try {
      this.#keyboard.see(await this.#job());
      for await (const event of this.#agent.events({ signal: this.#ended.signal })) {
        if (event.kind === "event" && event.job.id === this.#id) void this.#keyboard.see(event.job);
      }
    } catch (error) {
      if (!(error instanceof JobworkerError) && !this.#ended.signal.aborted) throw error;
    }
  }

  /** @param {import("../client/jobworker.js").LogEndPiece} end */
  #over({ exit }) {
    const how = exit === null ? "" : exit.code !== null ? ` with code ${exit.code}` : exit.signal ? ` by ${exit.signal}` : "";
    this.#exit = `The job has ended${how}.`;
    this.#keyboard.end();
    this.#writeText();
  }

  #act() {
    if (this.#keyboard.state === "mine") void this.#keyboard.release();
    else void this.#keyboard.claim(this.#keyboard.state === "other").then(() => this.focus());
  }

  #changed() {
    const { state, by, trouble } = this.#keyboard;
    this.#root.dataset["state"] = state;
    const [note, action] = {
      free: ["Nobody types. Type, or press the button, to begin.", "Type here"],
      mine: ["You type. Shift+F6 leaves the screen.", "Stop typing"],
      other: [`${by} types, in another window. You watch.`, "Take over"],
      refused: [trouble || "You may watch, and not type.", ""],
      ended: [this.#exit || trouble || "The job takes no more input.", ""],
    }[state];
    if (this.#note.textContent !== note) this.#note.textContent = note ?? "";
    this.#action.textContent = action ?? "";
    this.#action.hidden = action === "";
    if (state === "mine") this.#fitSoon();
  }

  #fitSoon() {
    clearTimeout(this.#fitTimer);
    this.#fitTimer = setTimeout(() => void this.#fit(), FIT_MS);
  }

  /** Give the terminal the size of its element: the one that types has the size. */
  async #fit() {
    const terminal = this.#terminal;
    if (terminal === undefined || this.#keyboard.state !== "mine" || this.#ended.signal.aborted) return;
    const drawn = this.#screen.querySelector(".xterm-screen")?.getBoundingClientRect();
    if (drawn === undefined || drawn.width === 0) return; // not shown now
    const cols = Math.floor((this.#screen.clientWidth - SCROLLBAR_PIXELS) / (drawn.width / terminal.cols));
    const rows = Math.floor(this.#screen.clientHeight / (drawn.height / terminal.rows));
    if (cols < MIN_COLS || rows < MIN_ROWS || (cols === terminal.cols && rows === terminal.rows)) return;
    if (await this.#keyboard.resize(rows, cols)) terminal.resize(cols, rows);
  }
}

/** @param {string} tag @param {string} name */
function make(tag, name) {
  const element = document.createElement(tag);
  element.className = name;
  return element;
}

/** Load the style sheet of xterm.js, once; what is measured before it is wrong. */
function loadStyle() {
  const { href } = new URL("xterm.css", XTERM);
  if ([...document.styleSheets].some((sheet) => sheet.href === href)) return Promise.resolve();
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  const loaded = new Promise((resolve) => link.addEventListener("load", resolve, { once: true }));
  document.head.append(link);
  return loaded;
}
