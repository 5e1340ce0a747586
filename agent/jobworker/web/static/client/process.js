// A job with the feel of a child process of Node.js.

import { ConnectionFailed, JobworkerError } from "./errors.js";

const PIECE_BYTES = 1 << 20; // of one stdin.write
const RETRY_SECONDS = 0.2; // before input is sent again that the agent could not take
const RETRIED = new Set([42901, 50701]); // too many bytes under way; the disk is full
const INVALID_STATE = 40901;
const encoder = new TextEncoder();

/**
 * @typedef {import("./jobworker.js").ProcessExit} ProcessExit
 * @typedef {import("./jobworker.js").SpawnOptions} SpawnOptions
 * @typedef {{request: (method: string, params: object, options?: object) => Promise<any>,
 *   logs: (id: string, options?: any) => AsyncGenerator<any, void>}} Caller
 */

/** One output of a job, read from its log: what is not read waits there, and neither the job nor others wait for it. */
class Output {
  #agent;
  #started;
  #stream;
  /** Ranges of the log passed so far that it does not hold. @type {{from: number, to: number, reason: string}[]} */
  gaps = [];

  /** @param {Caller} agent @param {Promise<any>} started @param {string} stream */
  constructor(agent, started, stream) {
    this.#agent = agent;
    this.#started = started;
    this.#stream = stream;
  }

  async *[Symbol.asyncIterator]() {
    const { id } = await this.#started;
    for await (const piece of this.#agent.logs(id, { streams: [this.#stream] })) {
      if (piece.kind === "data") yield /** @type {Uint8Array} */ (piece.bytes);
      else if (piece.kind === "gap") this.gaps.push(piece);
    }
  }

  /** Yield the lines, as text without their newlines. */
  async *lines() {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const bytes of this) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
    rest += decoder.decode();
    if (rest !== "") yield rest;
  }

  /** Return all of it, as text. */
  async text() {
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of this) text += decoder.decode(bytes, { stream: true });
    return text + decoder.decode();
  }
}

/** The input of a job, for one writer: each byte is written once, also over lost connections. */
class Input {
  #agent;
  #started;
  /** Of the next byte in the whole input. */
  #offset = 0;
  /** The writes so far: the next one begins after them. @type {Promise<any>} */
  #last = Promise.resolve();

  /** @param {Caller} agent @param {Promise<any>} started */
  constructor(agent, started) {
    this.#agent = agent;
    this.#started = started;
  }

  /**
   * Write, and return when the agent has accepted all: it reaches the job, whatever dies now.
   * @param {string | Uint8Array} data
   */
  write(data) {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    return this.#next(async (id) => {
      for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
        await this.#send(id, bytes.subarray(start, start + PIECE_BYTES));
      }
    });
  }

  /**
   * End the input, after these last bytes.
   * @param {string | Uint8Array} [data]
   */
  end(data) {
    if (data !== undefined) this.write(data).catch(() => {}); // the end fails likewise
    return this.#next((id) => repeated(() => this.#agent.request("stdin.close", { id, offset: this.#offset })));
  }

  /** @param {(id: string) => Promise<any>} act @returns {Promise<void>} */
  #next(act) {
    const next = Promise.all([this.#started, this.#last]).then(([{ id }]) => act(id));
    this.#last = next;
    next.catch(() => {}); // what was written is looked at by the caller, or by the next write
    return next;
  }

  /** @param {string} id @param {Uint8Array} bytes */
  async #send(id, bytes) {
    for (;;) {
      try {
        await this.#agent.request("stdin.write", { id, offset: this.#offset }, { bytes });
        this.#offset += bytes.length;
        return;
      } catch (error) {
        if (!(error instanceof JobworkerError) || !RETRIED.has(error.code)) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_SECONDS * 1000));
      }
    }
  }
}

/** A job that runs, or ran. Events: "spawn", "exit" (`detail` is what `exited` gives), "error". */
export class Process extends EventTarget {
  #agent;

  /** @param {Caller} agent @param {string | string[]} command @param {SpawnOptions} spec */
  constructor(agent, command, spec) {
    super();
    this.#agent = agent;
    /** The id of the job, once it was created. @type {string | undefined} */
    this.id = undefined;
    /** The pid of its main process on the host of the agent, once it was started. @type {number | undefined} */
    this.pid = undefined;
    const program = typeof command === "string" ? { shell: command } : { argv: command };
    /** The job, once it was started; fails if it cannot be. @type {Promise<import("./jobworker.js").Job>} */
    this.started = this.#start({ ...spec, ...program });
    this.stdin = spec.stdin === "pipe" || spec.tty ? new Input(agent, this.started) : null;
    this.stdout = new Output(agent, this.started, "stdout");
    this.stderr = new Output(agent, this.started, "stderr");
    /** How the job ended. @type {Promise<ProcessExit>} */
    this.exited = this.#watch();
    this.exited.catch(() => {}); // as `started`: a caller that awaits it gets the error, others the event
  }

  /**
   * Create the job and start it, once, also if an answer is lost.
   * @param {object} spec
   */
  async #start(spec) {
    const job = await this.#agent.request("job.create", { spec, key: crypto.randomUUID() });
    const { id } = job;
    this.id = id;
    let again = false;
    const started = await repeated(async () => {
      const now = again ? await this.#agent.request("job.status", { id }) : job;
      again = true;
      return now.state === "created" ? this.#agent.request("job.start", { id }) : now;
    });
    this.pid = started.pid ?? undefined;
    return started;
  }

  /** @returns {Promise<ProcessExit>} */
  async #watch() {
    try {
      const { id } = await this.started;
      this.dispatchEvent(new CustomEvent("spawn"));
      const ended = await this.#agent.request("job.wait", { id });
      const { code, signal, reason } = ended.exit;
      const exit = { code, signal, reason, job: ended };
      this.dispatchEvent(new CustomEvent("exit", { detail: exit }));
      return exit;
    } catch (error) {
      this.dispatchEvent(new CustomEvent("error", { detail: error }));
      throw error;
    }
  }

  /**
   * Send a signal to all processes of the job; return false if it has ended.
   * @param {string} [signal]
   */
  async kill(signal = "SIGTERM") {
    const { id } = await this.started;
    return unlessEnded(this.#agent.request("job.signal", { id, signal }));
  }

  /**
   * Stop the job as its spec has it, and return when its whole tree is gone; false if it has ended.
   * @param {object} [stop]
   */
  async stop(stop) {
    const { id } = await this.started;
    return unlessEnded(this.#agent.request("job.stop", { id, stop }));
  }
}

/**
 * Repeat a step whose answer is lost; it must be one that has no further effect.
 * @template T
 * @param {() => Promise<T>} step
 * @returns {Promise<T>}
 */
async function repeated(step) {
  for (;;) {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof ConnectionFailed) || !error.sent) throw error;
    }
  }
}

/** @param {Promise<any>} call @returns {Promise<boolean>} */
async function unlessEnded(call) {
  try {
    await call;
    return true;
  } catch (error) {
    if (error instanceof JobworkerError && error.code === INVALID_STATE) return false;
    throw error;
  }
}
