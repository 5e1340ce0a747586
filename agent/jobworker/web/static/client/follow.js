// Logs and events as async iterators, which continue where they were after a lost connection.

import { bytesOf } from "./connection.js";

// What may wait for a consumer. A page cannot stop the reading of a WebSocket: beyond this, the subscription is ended,
// and begun again where it was when the consumer has caught up.
const MAX_WAITING_BYTES = 2 << 20;
const NOTE_BYTES = 512; // what a notification costs besides its bytes

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {{onanswer?: (answer: any, connection: Connection) => void, signal?: AbortSignal}} RequestOptions
 * @typedef {{request: (method: string, params: object, options: RequestOptions) => Promise<any>}} Caller
 */

/** The notifications of one subscription on one connection. */
class Inbox {
  /** @type {[string, any][]} */
  #notes = [];
  #size = 0;
  /** Nothing more comes: the connection is lost, or the subscription was ended. */
  #over = false;
  /** @type {(() => void) | null} */
  #wake = null;

  /**
   * @param {Connection} connection
   * @param {string} subscription
   * @param {string} unsubscribe
   */
  constructor(connection, subscription, unsubscribe) {
    this.connection = connection;
    this.subscription = subscription;
    this.unsubscribe = unsubscribe;
    this.full = false;
    connection.route(subscription, this);
  }

  /** @param {string} method @param {any} params */
  put(method, params) {
    this.#notes.push([method, params]);
    this.#size += NOTE_BYTES + (params.bytes?.length ?? 0);
    if (this.#size > MAX_WAITING_BYTES && !this.full) {
      this.full = true;
      // No notification follows the answer: what was on its way until then is kept.
      const over = () => { this.connection.unroute(this.subscription); this.lost(); };
      this.connection.call(this.unsubscribe, { subscription: this.subscription }).then(over, over);
    }
    this.#wake?.();
  }

  lost() {
    this.#over = true;
    this.#wake?.();
  }

  /**
   * Return the next notification; undefined when there are no more.
   * @param {AbortSignal} [signal]
   * @returns {Promise<[string, any] | undefined>}
   */
  async next(signal) {
    while (this.#notes.length === 0 && !this.#over) {
      signal?.throwIfAborted();
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined);
        signal?.addEventListener("abort", this.#wake, { once: true });
      });
      if (this.#wake !== null) signal?.removeEventListener("abort", this.#wake);
      this.#wake = null;
    }
    signal?.throwIfAborted();
    const note = this.#notes.shift();
    if (note !== undefined) this.#size -= NOTE_BYTES + (note[1].bytes?.length ?? 0);
    return note;
  }

  /** End the subscription; what still comes is dropped. */
  end() {
    const open = this.connection.unroute(this.subscription);
    if (!open || this.full || this.connection.ended) return;
    this.connection.call(this.unsubscribe, { subscription: this.subscription }).catch(() => {});
  }
}

/**
 * Yield the notifications of a subscription and of those that follow it.
 * @param {Caller} agent
 * @param {string} method
 * @param {() => object} params  called for each subscription: where to begin
 * @param {(answer: any) => void} begun
 * @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<[string, any]>}
 */
async function* notifications(agent, method, params, begun, signal) {
  const unsubscribe = method.replace(".subscribe", ".unsubscribe");
  /** @type {Inbox | undefined} */
  let inbox;
  try {
    for (;;) {
      if (inbox === undefined) {
        const onanswer = (/** @type {any} */ answer, /** @type {any} */ connection) => {
          inbox = new Inbox(connection, answer.subscription, unsubscribe);
        };
        begun(await agent.request(method, params(), { onanswer, signal }));
      }
      const note = await /** @type {Inbox} */ (/** @type {any} */ (inbox)).next(signal);
      if (note === undefined) inbox = undefined;
      else yield note;
    }
  } finally {
    inbox?.end();
  }
}

/**
 * Yield the log of a job: data, gaps, and at last its end.
 * @param {Caller} agent
 * @param {string} id
 * @param {any} [options]
 * @returns {AsyncGenerator<any, void>}
 */
export async function* logs(agent, id, { signal, ...options } = {}) {
  const { offset, tail, since, ...kept } = options;
  /** @type {any} */
  let start = { offset, tail, since };
  const params = () => ({ id, ...kept, ...start });
  const begun = (/** @type {any} */ answer) => { start = { offset: answer.offset }; };
  for await (const [method, note] of notifications(agent, "log.subscribe", params, begun, signal)) {
    const { subscription, job, data, encoding, ...fields } = note;
    if (method === "log.data") {
      const bytes = bytesOf(note);
      const end = note.offset + bytes.length;
      start = { offset: end };
      yield { kind: "data", offset: note.offset, end, stream: note.stream, time: note.time, bytes };
    } else if (method === "log.gap") {
      start = { offset: note.to };
      yield { kind: "gap", ...fields };
    } else if (method === "log.end") {
      yield { kind: "end", ...fields };
      return;
    }
  }
}

/**
 * Yield the events of all jobs that the caller may see, from now on or after the revision `from`.
 * @param {Caller} agent
 * @param {{from?: number, signal?: AbortSignal}} [options]
 * @returns {AsyncGenerator<any, void>}
 */
export async function* events(agent, { from, signal } = {}) {
  let revision = from;
  const params = () => (revision === undefined ? {} : { from: revision });
  const begun = (/** @type {any} */ answer) => { revision ??= answer.revision; };
  for await (const [method, { subscription, ...fields }] of notifications(agent, "event.subscribe", params, begun, signal)) {
    if (method === "job.event") {
      revision = fields.revision;
      yield { kind: "event", ...fields };
    } else if (method === "event.gap") {
      revision = fields.to;
      yield { kind: "gap", ...fields };
    }
  }
}
