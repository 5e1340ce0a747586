// The JavaScript client of a jobworker agent, for browsers and Node.js 20 or later. README.md shows how to use it.

import { bytesOf, open } from "./connection.js";
import { ConnectionFailed, JobworkerError, isRefusal } from "./errors.js";
import { events, logs } from "./follow.js";
import { METHODS } from "./methods.js";
import { Process } from "./process.js";

export { ConnectionFailed, JobworkerError, Process, bytesOf };

const FIRST_PAUSE_SECONDS = 0.05; // between two attempts to connect; doubled after each
const MAX_PAUSE_SECONDS = 10;
const SETTLED_SECONDS = 5; // a connection that lasted longer begins the pauses again
const NODE_RECONNECT_SECONDS = 60; // a program should end some time; a page waits until its user closes it
/** Methods that change nothing: a call whose answer was lost is sent again. */
const REPEATABLE = [
  "agent.garbage", "agent.health", "agent.info", "agent.ping", "audit.list", "auth.whoami", "event.subscribe",
  "job.explain", "job.list",
  "job.stats", "job.status", "job.wait", "log.lines", "log.read", "log.search", "log.sizes", "log.subscribe",
  "plugin.list", "rpc.discover", "screen.read", "session.list", "token.list",
];
const IN_NODE = typeof globalThis.process?.versions?.node === "string" && typeof globalThis.document === "undefined";

/**
 * Connect to an agent and log in.
 * @param {import("./jobworker.js").Place} place
 * @param {import("./jobworker.js").ConnectOptions} [options]
 * @returns {Promise<Agent>}
 */
export async function connect(place, options = {}) {
  const agent = new Agent(place, options);
  await agent.open();
  return agent;
}

/**
 * Connect to the agent on a state folder of this host, by default that of the user (Node.js only).
 * @param {string} [folder]
 * @param {import("./jobworker.js").ConnectOptions} [options]
 * @returns {Promise<Agent>}
 */
export async function connectLocal(folder, options = {}) {
  const { localEndpoint } = await import("./node/local.js");
  return connect(() => localEndpoint(folder), options);
}

/** A connection to an agent, and the one after it when it is lost. */
export class Agent extends EventTarget {
  #place;
  #options;
  /** What to log in with; after a ticket, the session that the agent gave for it. @type {any} */
  #credentials;
  /** @type {import("./connection.js").Connection | undefined} */
  #connection;
  /** @type {"connecting" | import("./jobworker.js").State} */
  #state = "connecting";
  /** @type {any} */
  #caller;
  /** Calls that wait for the connection. @type {{resolve: (connection: any) => void, reject: (e: any) => void}[]} */
  #waiting = [];
  /** Why the client is closed. @type {any} */
  #reason;
  /** Ends the pause before the next attempt. @type {() => void} */
  #wake = () => {};
  #pause = FIRST_PAUSE_SECONDS;
  /** Aborted when the client is closed. */
  #over = new AbortController();

  /**
   * @param {import("./jobworker.js").Place} place
   * @param {import("./jobworker.js").ConnectOptions} options
   */
  constructor(place, options) {
    super();
    this.#place = place;
    this.#options = options;
    const { token, username, password, ticket, session } = options;
    this.#credentials = { token, username, password, ticket, session };
    for (const [group, names] of Object.entries(METHODS)) {
      /** @type {Record<string, (params?: object, options?: object) => Promise<any>>} */
      const calls = {};
      for (const name of names) calls[name] = (params, more) => this.call(`${group}.${name}`, params, more);
      Object.defineProperty(this, group, { value: Object.freeze(calls), enumerable: true });
    }
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
    globalThis.addEventListener?.("online", () => this.#wake(), { signal: this.#over.signal });
  }

  /** "connected", "reconnecting" or "closed". */
  get state() {
    return this.#state;
  }

  /** What `auth.whoami` answered for the newest connection. */
  get caller() {
    return this.#caller;
  }

  /** A secret to log in again with, as `connect(url, {session})`, if this log-in was by a ticket or a session. */
  get secret() {
    return this.#credentials.session;
  }

  /** Why the client is closed, if it was not by `close`. */
  get reason() {
    return this.#reason;
  }

  /** Open the first connection. */
  async open() {
    try {
      await this.#open();
    } catch (error) {
      this.#end(error);
      throw error;
    }
  }

  /**
   * Call any method of the agent. While the connection is lost, the call waits for the next one; it is sent again
   * only if it can have had no effect, or has the same effect twice.
   * @param {string} method
   * @param {object} [params]
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<any>}
   */
  call(method, params = {}, options = {}) {
    return this.request(method, params, options);
  }

  /**
   * Call a method, as `call` does. `bytes` are the data of `stdin.write`; `onanswer` runs before what follows the
   * answer is read.
   * @param {string} method
   * @param {any} params
   * @param {{signal?: AbortSignal, bytes?: Uint8Array, onanswer?: (result: any, connection: any) => void}} [options]
   * @returns {Promise<any>}
   */
  async request(method, params, { signal, bytes, onanswer } = {}) {
    for (;;) {
      const connection = await orAborted(this.#connected(), signal);
      const answered = (/** @type {any} */ result) => {
        if (signal?.aborted) endSubscription(connection, method, result);
        else onanswer?.(result, connection);
      };
      try {
        return await orAborted(connection.call(method, params, { bytes, onanswer: answered }), signal);
      } catch (error) {
        if (!(error instanceof ConnectionFailed) || (error.sent && !isRepeatable(method, params))) throw error;
      }
    }
  }

  /**
   * Yield the log of a job.
   * @param {string} id
   * @param {any} [options]
   */
  logs(id, options) {
    return logs(this, id, options);
  }

  /**
   * Yield the events of jobs.
   * @param {any} [options]
   */
  events(options) {
    return events(this, options);
  }

  /**
   * Run a job, as `spawn` of node:child_process runs a program.
   * @param {string | string[]} command  a line for the shell, or the program and its arguments
   * @param {import("./jobworker.js").SpawnOptions} [options]
   */
  spawn(command, options = {}) {
    return new Process(this, command, options);
  }

  /** Close the connection for good; what is under way fails. */
  close() {
    this.#end(undefined);
  }

  /** @returns {Promise<import("./connection.js").Connection>} */
  #connected() {
    if (this.#connection !== undefined && !this.#connection.ended) return Promise.resolve(this.#connection);
    if (this.#state === "closed") return Promise.reject(this.#closed());
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #closed() {
    return this.#reason ?? new ConnectionFailed("the client is closed");
  }

  async #open() {
    const given = typeof this.#place === "function" ? await this.#place() : this.#place;
    const { url, ...endpoint } = typeof given === "string" || given instanceof URL ? { url: given } : given;
    const make = await socketMaker({ ...this.#options, ...endpoint });
    const credentials = this.#presented(endpoint);
    const how = { login: credentials !== undefined, signal: this.#options.signal };
    const connection = await open(normalAddress(String(url)), make, how);
    const started = Date.now();
    try {
      await this.#logIn(connection, credentials);
    } catch (error) {
      connection.close();
      throw error;
    }
    if (this.#state === "closed") {
      connection.close();
      throw this.#closed();
    }
    connection.onnotification = (method, params) => {
      this.dispatchEvent(new CustomEvent("notification", { detail: { method, params } }));
    };
    connection.onend = (refusal) => {
      if (Date.now() - started > SETTLED_SECONDS * 1000) this.#pause = FIRST_PAUSE_SECONDS;
      void this.#reconnect(refusal);
    };
    this.#connection = connection;
    if (connection.ended) connection.onend(connection.refusal);
    else this.#become("connected");
    for (const { resolve } of this.#waiting.splice(0)) resolve(connection);
  }

  /** Return the params of `auth.login`; undefined if there are none. @param {any} endpoint */
  #presented(endpoint) {
    const { session, ticket, username, password, token = endpoint.token } = this.#credentials;
    return session !== undefined ? { session }
      : ticket !== undefined ? { ticket }
      : username !== undefined ? { username, password }
      : token !== undefined ? { token }
      : undefined;
  }

  /** @param {import("./connection.js").Connection} connection @param {any} credentials */
  async #logIn(connection, credentials) {
    if (credentials !== undefined) {
      const answer = await connection.call("auth.login", credentials);
      if (typeof answer.session === "string") this.#credentials = { session: answer.session };
    }
    this.#caller = await connection.call("auth.whoami", {});
  }

  /** @param {any} [refusal] */
  async #reconnect(refusal) {
    if (this.#state === "closed") return;
    if (refusal !== undefined) return this.#end(refusal);
    this.#become("reconnecting");
    const { reconnectSeconds = IN_NODE ? NODE_RECONNECT_SECONDS : Infinity } = this.#options;
    const deadline = Date.now() + reconnectSeconds * 1000;
    for (;;) {
      // Clients of one agent must not come back all at once.
      await this.#sleep(this.#pause * (0.5 + Math.random() / 2));
      this.#pause = Math.min(this.#pause * 2, MAX_PAUSE_SECONDS);
      if (this.#state !== "reconnecting") return;
      try {
        return await this.#open();
      } catch (error) {
        if (isRefusal(error) || Date.now() > deadline) return this.#end(error);
      }
    }
  }

  /** @param {number} seconds */
  #sleep(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.#wake = () => { clearTimeout(timer); resolve(undefined); };
    });
  }

  /** @param {any} reason */
  #end(reason) {
    if (this.#state === "closed") return;
    this.#reason = reason;
    this.#become("closed");
    this.#over.abort();
    this.#wake();
    this.#connection?.close();
    for (const { reject } of this.#waiting.splice(0)) reject(this.#closed());
  }

  /** @param {import("./jobworker.js").State} state */
  #become(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.onstate?.(state, this.#reason);
    this.dispatchEvent(new CustomEvent("state", { detail: { state, reason: this.#reason } }));
  }
}

/** @param {string} method @param {any} params */
function isRepeatable(method, params) {
  if (REPEATABLE.includes(method)) return true;
  if (method === "job.create" || method === "job.run") return typeof params.key === "string";
  return method === "stdin.write" && typeof params.offset === "number";
}

/**
 * Return what a promise gives, or throw when the signal is aborted.
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
async function orAborted(promise, signal) {
  if (signal === undefined) return promise;
  /** @type {() => void} */
  let abort = () => {};
  const aborted = new Promise((_, reject) => {
    abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
  });
  try {
    return await Promise.race([promise, /** @type {Promise<never>} */ (aborted)]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/**
 * End a subscription whose caller waits no longer.
 * @param {import("./connection.js").Connection} connection
 * @param {string} method
 * @param {any} result
 */
function endSubscription(connection, method, result) {
  const subscription = result?.subscription;
  if (typeof subscription !== "string") return;
  const unsubscribe = method === "event.subscribe" ? "event.unsubscribe" : "log.unsubscribe";
  connection.call(unsubscribe, { subscription }).catch(() => {});
}

/**
 * Return an address as a WebSocket takes it: `https://` is `wss://`, and without a path it is `/rpc`.
 * @param {string} address
 */
function normalAddress(address) {
  if (address.startsWith("unix:")) return address;
  const url = new URL(address, globalThis.location?.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  if (url.pathname === "/") url.pathname = "/rpc";
  return url.href;
}

/**
 * Return what makes a WebSocket: that of the page, or in Node.js ours, which takes a CA.
 * @param {any} options
 * @returns {Promise<(url: string, protocols: string[]) => any>}
 */
async function socketMaker({ WebSocket, ca, cert, key }) {
  const given = WebSocket ?? (IN_NODE ? undefined : globalThis.WebSocket);
  if (given !== undefined) return (url, protocols) => new given(url, protocols);
  const { NodeSocket } = await import("./node/socket.js");
  return (url, protocols) => new NodeSocket(url, protocols, { ca, cert, key });
}
