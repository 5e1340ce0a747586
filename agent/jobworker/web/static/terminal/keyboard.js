// Who types into a terminal: any number of people watch it, one types.

import { ConnectionFailed, JobworkerError } from "../client/jobworker.js";

const MAX_WRITE_BYTES = 64 << 10;
const NOT_THE_WRITER = 40903;
const REFUSED = 40301;

/**
 * @typedef {"free" | "mine" | "other" | "refused" | "ended"} KeyboardState
 * @typedef {import("../client/jobworker.js").Agent} Agent
 */

export class Keyboard {
  /** @type {KeyboardState} */
  state = "free";
  /** The principal that types, if it is another. */
  by = "";
  /** What the agent has refused, for the user. */
  trouble = "";
  /** The offset of the log from which on queries of programs are answered: what is older was answered before. */
  answersFrom = Infinity;
  #agent;
  #id;
  #onchange;
  /** Of the claim, while it is ours. @type {number | undefined} */
  #lease;
  /** Of the next byte in the input of the job. */
  #offset = 0;
  /** Typed and not yet accepted. @type {Uint8Array[]} */
  #typed = [];
  /** How many bytes of it were sent without an answer yet. */
  #unanswered = 0;
  #sending = false;
  #claiming = false;

  /** @param {Agent} agent @param {string} id @param {() => void} onchange */
  constructor(agent, id, onchange) {
    this.#agent = agent;
    this.#id = id;
    this.#onchange = onchange;
  }

  /** Become the one who types; with `steal`, in place of another. @param {boolean} [steal] */
  async claim(steal = false) {
    if (this.#claiming || this.state === "mine" || this.state === "refused" || this.state === "ended") return;
    this.#claiming = true;
    try {
      const { lease, offset } = await this.#agent.stdin.claim({ id: this.#id, steal });
      const { log } = await this.#agent.job.status({ id: this.#id });
      this.answersFrom = log.bytes;
      // What was accepted before the connection was lost is not typed again.
      this.#forget(Math.min(offset - this.#offset, this.#unanswered));
      this.#unanswered = 0;
      this.#offset = offset;
      this.#lease = lease;
      this.#become("mine");
      void this.#send();
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#claiming = false;
    }
  }

  /** Let another type. */
  async release() {
    const lease = this.#lease;
    if (lease === undefined) return;
    this.#drop();
    this.#become("free");
    await this.#agent.stdin.release({ id: this.#id, lease }).catch(() => {}); // lost meanwhile
  }

  /** @param {Uint8Array} bytes */
  type(bytes) {
    if (this.state !== "mine" && this.state !== "free") return;
    this.#typed.push(bytes);
    if (this.state === "free") void this.claim();
    else void this.#send();
  }

  /** Change the size of the terminal, if it is ours to change. @param {number} rows @param {number} cols */
  async resize(rows, cols) {
    const lease = this.#lease;
    if (lease === undefined) return false;
    try {
      await this.#agent.job.resize({ id: this.#id, rows, cols, lease });
      return true;
    } catch (error) {
      this.#failed(error, lease);
      return false;
    }
  }

  /** Take what the record of the job has. @param {import("../client/jobworker.js").JobSummary} job */
  async see(job) {
    if (job.exit !== null) return this.end();
    if (this.#lease !== undefined) return this.#check();
    if (this.state === "refused" || this.state === "ended") return;
    this.by = job.writer?.by ?? "";
    this.#become(job.writer === null ? "free" : "other");
  }

  /** The connection was lost and is back; with it went the claim. */
  async back() {
    if (this.#lease === undefined) return;
    this.#lease = undefined;
    this.#become("free");
    await this.claim();
  }

  /** Watch only. */
  refuse() {
    this.#become("refused");
  }

  /** The job takes no more input. */
  end() {
    this.#drop();
    this.#become("ended");
  }

  /** Ask whether the claim is still ours. */
  async #check() {
    const lease = this.#lease;
    try {
      await this.#agent.stdin.write({ id: this.#id, data: "", lease: lease ?? null });
    } catch (error) {
      this.#failed(error, lease);
    }
  }

  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    const lease = this.#lease;
    try {
      while (this.#typed.length > 0 && lease !== undefined && lease === this.#lease) {
        const bytes = joined(this.#typed, MAX_WRITE_BYTES);
        const data = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        this.#unanswered = bytes.length;
        await this.#agent.stdin.write({ id: this.#id, offset: this.#offset, lease, data, encoding: "base64" });
        if (lease !== this.#lease) break; // a new claim has counted these bytes
        this.#unanswered = 0;
        this.#forget(bytes.length);
        this.#offset += bytes.length;
      }
    } catch (error) {
      this.#failed(error, lease);
    } finally {
      this.#sending = false;
    }
    if (this.#lease !== lease) void this.#send(); // what was typed before the new claim
  }

  /** @param {unknown} error @param {number} [lease]  by which the call was made */
  #failed(error, lease) {
    if (error instanceof ConnectionFailed) return; // `back` goes on
    if (lease !== this.#lease) return; // of a claim that has ended, as with a lost connection
    if (!(error instanceof JobworkerError)) throw error;
    if (error.code === NOT_THE_WRITER) {
      const had = this.#lease !== undefined;
      this.#lease = undefined;
      this.by = error.data["writer"] ?? "";
      if (this.by !== "") {
        this.#drop();
        this.#become("other");
      } else if (had) { // it ended with its connection
        this.#become("free");
        void this.claim();
      }
      return;
    }
    this.#drop();
    this.trouble = error.message;
    this.#become(error.code === REFUSED ? "refused" : "ended");
  }

  /** Forget what was typed first. @param {number} count */
  #forget(count) {
    for (let left = count; left > 0 && this.#typed.length > 0;) {
      const first = /** @type {Uint8Array} */ (this.#typed[0]);
      if (first.length > left) this.#typed[0] = first.subarray(left);
      else this.#typed.shift();
      left -= first.length;
    }
  }

  #drop() {
    this.#lease = undefined;
    this.#typed = [];
    this.#unanswered = 0;
    this.answersFrom = Infinity;
  }

  /** @param {KeyboardState} state */
  #become(state) {
    this.state = state;
    this.#onchange();
  }
}

/**
 * Return the first bytes of several pieces as one.
 * @param {Uint8Array[]} pieces
 * @param {number} most
 */
function joined(pieces, most) {
  const length = Math.min(most, pieces.reduce((sum, piece) => sum + piece.length, 0));
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    if (at === length) break;
    const part = piece.subarray(0, length - at);
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
