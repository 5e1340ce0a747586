// One WebSocket to an agent: its calls, and the notifications of its subscriptions. It ends with the socket.

import { ConnectionFailed, JobworkerError, fromAnswer } from "./errors.js";

const SUBPROTOCOLS = ["jobworker.v1.binary", "jobworker.v1"];
const LOGIN_SUBPROTOCOL = "jobworker.login"; // auth.login follows: the agent is not to log in by a certificate
const MAX_MESSAGE_BYTES = 4 << 20; // the agent closes the connection at a larger one
const OPEN_SECONDS = 20; // for connection, TLS and upgrade together
const PING_SECONDS = 20; // without a message, before the agent is asked whether it is there, and for its answer
const POLICY = 1008;
const FAULTS = new Map([[1003, "of another kind than it reads"], [1009, "too large"]]);
const NEWLINE = 10;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * @typedef {{resolve: (result: any) => void, reject: (error: Error) => void, onanswer?: (result: any) => void}} Waiting
 * @typedef {{put: (method: string, params: any) => void, lost: () => void}} Inbox
 */

/**
 * Open a WebSocket and return it once the agent has accepted it.
 * @param {string} url
 * @param {(url: string, protocols: string[]) => any} make
 * @param {{login: boolean, signal?: AbortSignal}} how  `login`: `auth.login` is called next
 * @returns {Promise<Connection>}
 */
export function open(url, make, { login, signal }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const socket = make(url, login ? [...SUBPROTOCOLS, LOGIN_SUBPROTOCOL] : SUBPROTOCOLS);
    socket.binaryType = "arraybuffer";
    const timer = setTimeout(() => fail(`no answer within ${OPEN_SECONDS} s`), OPEN_SECONDS * 1000);
    const abort = () => fail("the caller has given up");
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      socket.onopen = socket.onclose = socket.onerror = null;
    };
    /** @param {string} reason @param {any} [cause] */
    const fail = (reason, cause) => {
      settle();
      socket.onerror = () => {}; // of a socket that is closed before it was open
      socket.close();
      if (cause instanceof JobworkerError) reject(cause);
      else reject(new ConnectionFailed(`${url} cannot be reached: ${reason}`, {
        cause,
        hint: "does the agent run there, is its certificate trusted, and are this name in server.names and the " +
          "page's origin in server.origins? The log of the agent has what it refused",
      }));
    };
    signal?.addEventListener("abort", abort);
    socket.onopen = () => { settle(); resolve(new Connection(socket)); };
    socket.onerror = (/** @type {any} */ event) => fail(event.error?.message ?? "no connection", event.error);
    socket.onclose = (/** @type {any} */ event) => fail(event.reason || `closed with ${event.code}`);
  });
}

export class Connection {
  /** @type {any} */
  #socket;
  #lastId = 0;
  /** Calls without an answer yet. @type {Map<number, Waiting>} */
  #waiting = new Map();
  /** Where the notifications of each subscription go. @type {Map<string, Inbox>} */
  #inboxes = new Map();
  /** When the agent last sent anything, in ms. */
  #heard = Date.now();
  /** @type {any} */
  #timer;
  /** When a ping was sent that was not answered yet, in ms; 0: none. */
  #pinged = 0;
  #ended = false;

  /** @param {any} socket */
  constructor(socket) {
    this.#socket = socket;
    /** Called with each notification that no inbox takes. @type {(method: string, params: any) => void} */
    this.onnotification = () => {};
    /** Called once, with the error to raise if another connection is of no use. @type {(error?: Error) => void} */
    this.onend = () => {};
    /** Why no other connection helps. @type {JobworkerError | undefined} */
    this.refusal = undefined;
    socket.onmessage = (/** @type {any} */ event) => this.#take(event.data);
    socket.onclose = (/** @type {any} */ event) => this.#end(event.code, event.reason);
    socket.onerror = () => {}; // a close follows
    this.#timer = setInterval(() => this.#look(), PING_SECONDS * 500);
    this.#timer.unref?.(); // of node: the socket keeps the process alive, not this
  }

  get ended() {
    return this.#ended;
  }

  /**
   * Call a method; `bytes` go in a binary frame. `onanswer` runs before any later message is read.
   * @param {string} method
   * @param {object} params
   * @param {{bytes?: Uint8Array, onanswer?: (result: any) => void}} [more]
   * @returns {Promise<any>}
   */
  call(method, params, { bytes, onanswer } = {}) {
    return new Promise((resolve, reject) => {
      if (this.#ended) throw this.refusal ?? new ConnectionFailed("the connection is lost");
      const id = ++this.#lastId;
      const frame = encodeRequest({ jsonrpc: "2.0", id, method, params }, bytes, this.#socket.protocol);
      this.#waiting.set(id, { resolve, reject, onanswer });
      this.#socket.send(frame);
    });
  }

  /**
   * Deliver the notifications of a subscription to an inbox.
   * @param {string} subscription
   * @param {Inbox} inbox
   */
  route(subscription, inbox) {
    this.#inboxes.set(subscription, inbox);
  }

  /** @param {string} subscription */
  unroute(subscription) {
    return this.#inboxes.delete(subscription);
  }

  /** Close the socket; what is under way fails. */
  close() {
    this.#socket.close();
    this.#end(1000, "");
  }

  /** @param {string | ArrayBuffer | Uint8Array} data */
  #take(data) {
    if (this.#ended) return;
    this.#heard = Date.now();
    this.#pinged = 0;
    try {
      if (typeof data !== "string") return this.#deliver("log.data", splitFrame(data));
      const message = JSON.parse(data);
      for (const item of Array.isArray(message) ? message : [message]) this.#handle(item);
    } catch (cause) {
      this.refusal = new JobworkerError("what the agent has sent is not of the protocol", {
        cause,
        hint: "is it an agent, and of a version that this client knows?",
      });
      this.close();
    }
  }

  /** @param {any} message */
  #handle(message) {
    if (message.method !== undefined) return this.#deliver(message.method, message.params);
    const waiting = this.#waiting.get(message.id);
    if (waiting === undefined) return;
    this.#waiting.delete(message.id);
    if (message.error !== undefined) return waiting.reject(fromAnswer(message.error));
    waiting.onanswer?.(message.result);
    waiting.resolve(message.result);
  }

  /** @param {string} method @param {any} params */
  #deliver(method, params) {
    const inbox = this.#inboxes.get(params.subscription);
    if (method === "log.end") this.#inboxes.delete(params.subscription);
    if (inbox === undefined) this.onnotification(method, params);
    else inbox.put(method, params);
  }

  /** Notice an agent or a network that is gone without a word: a page cannot see the pings of a WebSocket. */
  #look() {
    const now = Date.now();
    if (this.#pinged !== 0 && now - this.#pinged >= PING_SECONDS * 1000) {
      this.#socket.close();
      this.#end(1006, "no answer to a ping");
    } else if (this.#pinged === 0 && now - this.#heard >= PING_SECONDS * 1000) {
      this.#pinged = now;
      this.call("agent.ping", {}).catch(() => {});
    }
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#timer);
    const fault = FAULTS.get(code);
    if (code === POLICY) {
      const text = `the agent closed the connection: ${reason || "it refuses this caller"}`;
      this.refusal = new JobworkerError(text, { code: 40101, data: { reason: "unauthenticated" } });
    } else if (fault !== undefined) {
      this.refusal = new JobworkerError(`the agent closed the connection: a message is ${fault}`);
    }
    const lost = this.refusal ?? new ConnectionFailed("the connection was lost before the answer came", { sent: true });
    for (const { reject } of this.#waiting.values()) reject(lost);
    this.#waiting.clear();
    for (const inbox of this.#inboxes.values()) inbox.lost();
    this.#inboxes.clear();
    this.onend(this.refusal);
  }
}

/**
 * Return a request as the agent reads it: JSON, or a line of JSON and the bytes.
 * @param {any} request
 * @param {Uint8Array | undefined} bytes
 * @param {string} protocol
 * @returns {string | Uint8Array}
 */
function encodeRequest(request, bytes, protocol) {
  let text = JSON.stringify(request);
  if (bytes !== undefined && protocol !== SUBPROTOCOLS[0]) {
    const more = { data: toBase64(bytes), encoding: "base64" };
    text = JSON.stringify({ ...request, params: { ...request.params, ...more } });
  } else if (bytes !== undefined) {
    const head = encoder.encode(text + "\n");
    const frame = new Uint8Array(head.length + bytes.length);
    frame.set(head);
    frame.set(bytes, head.length);
    requireSize(frame.length, request.method);
    return frame;
  }
  // Only a text of a third of the limit can have more bytes than that in UTF-8.
  if (text.length > MAX_MESSAGE_BYTES / 3) requireSize(encoder.encode(text).length, request.method);
  return text;
}

/** @param {number} length @param {string} method */
function requireSize(length, method) {
  if (length <= MAX_MESSAGE_BYTES) return;
  throw new JobworkerError(
    `${method}: the request has ${length} bytes; expected at most ${MAX_MESSAGE_BYTES}`,
    { hint: "give the job its data in a file" },
  );
}

/**
 * Return the params of a `log.data` in a binary frame, with its bytes.
 * @param {ArrayBuffer | Uint8Array} data
 */
function splitFrame(data) {
  const frame = data instanceof Uint8Array ? data : new Uint8Array(data);
  const end = frame.indexOf(NEWLINE);
  const params = JSON.parse(decoder.decode(frame.subarray(0, end)));
  params.bytes = frame.subarray(end + 1);
  return params;
}

/** @param {Uint8Array} bytes */
function toBase64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 32768) {
    text += String.fromCharCode(...bytes.subarray(start, start + 32768));
  }
  return btoa(text);
}

/**
 * Return the bytes of a record of `log.read`, `log.lines` or `log.data`.
 * @param {{data?: string, encoding?: string, bytes?: Uint8Array}} record
 * @returns {Uint8Array}
 */
export function bytesOf({ data = "", encoding, bytes }) {
  if (bytes !== undefined) return bytes;
  return encoding === "base64" ? Uint8Array.from(atob(data), (c) => c.charCodeAt(0)) : encoder.encode(data);
}
