// A WebSocket for Node.js 20, which has none, with what a browser has in its settings: a CA and a client certificate.

import { createHash, randomBytes } from "node:crypto";
import { request as plainRequest } from "node:http";
import { request as tlsRequest } from "node:https";

import { ConnectionFailed, JobworkerError } from "../errors.js";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // of RFC 6455: an answer with it is from a WebSocket server
const MAX_MESSAGE_BYTES = 64 << 20; // of the agent: a batch of answers has 4 MiB at most, a page of a log 3
const MAX_REFUSAL_BYTES = 300; // of an answer that is no upgrade, in an error
const CLOSE_SECONDS = 2; // for the closing handshake
const CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;
const HINTS = new Map([
  [401, "is the token right, and for this agent?"],
  [403, "connect by a name of the agent, or add this name to server.names in its configuration"],
  [404, "is the path right? An agent is at wss://HOST:PORT/rpc"],
  [429, "too many failed logins: try again later"],
]);

export class NodeSocket {
  /** @type {any} */ onopen = null;
  /** @type {any} */ onmessage = null;
  /** @type {any} */ onerror = null;
  /** @type {any} */ onclose = null;
  binaryType = "arraybuffer"; // messages are Uint8Array all the same: a view, without a copy
  protocol = "";
  /** @type {import("node:net").Socket | undefined} */
  #socket;
  /** @type {import("node:http").ClientRequest} */
  #request;
  /** Received and not yet read. @type {Buffer} */
  #buffer = Buffer.alloc(0);
  /** Parts of a message in several frames. @type {Buffer[]} */
  #parts = [];
  #partsLength = 0;
  #partsKind = TEXT;
  #code = 1006;
  #reason = "";
  #closing = false;
  #ended = false;

  /**
   * @param {string} address  ws://, wss:// or unix:///PATH
   * @param {string[]} protocols
   * @param {{ca?: any, cert?: any, key?: any}} [tls]
   */
  constructor(address, protocols, { ca, cert, key } = {}) {
    const nonce = randomBytes(16).toString("base64");
    const headers = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": nonce,
      "Sec-WebSocket-Protocol": protocols.join(", "),
    };
    const local = address.startsWith("unix:");
    const url = new URL(local ? "ws://localhost/rpc" : address);
    const { hostname, port, pathname, search } = url;
    const host = hostname.replace(/^\[|\]$/g, ""); // of IPv6
    const request = url.protocol === "wss:" ? tlsRequest : plainRequest;
    this.#request = request({
      ...(local ? { socketPath: decodeURIComponent(new URL(address).pathname) } : { host, port }),
      path: pathname + search, headers, ca, cert, key, agent: false,
    });
    this.#request.on("error", (error) => this.#fail(error));
    this.#request.on("response", (response) => this.#refused(response));
    this.#request.on("upgrade", ({ headers: answer }, socket, head) => {
      const accept = createHash("sha1").update(nonce + GUID).digest("base64");
      if (answer["sec-websocket-accept"] !== accept) return this.#fail(new Error("what answers there is no agent"));
      this.protocol = answer["sec-websocket-protocol"] ?? "";
      this.#opened(socket, head);
    });
    this.#request.end();
  }

  /** @param {string | Uint8Array} data */
  send(data) {
    if (typeof data === "string") this.#write(TEXT, Buffer.from(data));
    else this.#write(BINARY, Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  }

  close(code = 1000) {
    if (this.#socket === undefined) {
      this.#request.destroy();
    } else if (!this.#closing) {
      const body = Buffer.alloc(2);
      body.writeUInt16BE(code);
      this.#write(CLOSE, body);
      this.#closing = true;
      this.#socket.end();
      setTimeout(() => this.#socket?.destroy(), CLOSE_SECONDS * 1000).unref();
    }
  }

  /** @param {import("node:net").Socket} socket @param {Buffer} head */
  #opened(socket, head) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setTimeout(0);
    socket.on("error", () => {}); // a close follows
    socket.on("close", () => this.#end());
    this.onopen?.({});
    // Only now does anybody read the messages.
    socket.on("data", (data) => this.#received(data));
    if (head.length > 0) this.#received(head);
  }

  /** @param {import("node:http").IncomingMessage} response */
  #refused(response) {
    const status = response.statusCode ?? 0;
    let text = "";
    response.setEncoding("utf8").on("data", (/** @type {string} */ part) => {
      text = (text + part).slice(0, MAX_REFUSAL_BYTES);
    });
    response.on("end", () => {
      const message = `the agent answered ${status}: ${text.trim().split("\n")[0]}`;
      const hint = HINTS.get(status) ?? "";
      const refusal = status === 401
        ? new JobworkerError(message, { code: 40101, data: { reason: "unauthenticated" }, hint })
        : new ConnectionFailed(message, { hint });
      this.#fail(refusal);
    });
  }

  /** @param {Error} error */
  #fail(error) {
    this.#request.destroy();
    this.onerror?.({ error });
    this.#end();
  }

  #end() {
    if (this.#ended) return;
    this.#ended = true;
    this.onclose?.({ code: this.#code, reason: this.#reason });
  }

  /** @param {number} kind @param {Buffer} data */
  #write(kind, data) {
    if (this.#closing || this.#socket === undefined) return;
    const extended = data.length < 126 ? 0 : data.length < 65536 ? 2 : 8;
    const head = Buffer.alloc(2 + extended + 4);
    head[0] = 0x80 | kind;
    head[1] = 0x80 | (extended === 0 ? data.length : extended === 2 ? 126 : 127);
    if (extended === 2) head.writeUInt16BE(data.length, 2);
    if (extended === 8) head.writeBigUInt64BE(BigInt(data.length), 2);
    const mask = randomBytes(4);
    mask.copy(head, 2 + extended);
    const masked = Buffer.alloc(data.length);
    for (let i = 0; i < data.length; i++) masked[i] = /** @type {number} */ (data[i]) ^ /** @type {number} */ (mask[i & 3]);
    this.#socket.cork();
    this.#socket.write(head);
    this.#socket.write(masked);
    this.#socket.uncork();
  }

  /** @param {Buffer} data */
  #received(data) {
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data]);
    try {
      while (!this.#ended && this.#readFrame());
    } catch {
      this.#code = 1002;
      this.#socket?.destroy();
    }
  }

  /** Read one frame, if all of it is there. */
  #readFrame() {
    const buffer = this.#buffer;
    if (buffer.length < 2) return false;
    const [first, second] = /** @type {any} */ (buffer);
    const extended = second === 126 ? 2 : second === 127 ? 8 : 0;
    if (buffer.length < 2 + extended) return false;
    const length =
      extended === 0 ? second : extended === 2 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2));
    if (second > 127 || (first & 0x70) !== 0 || length > MAX_MESSAGE_BYTES) throw new Error("no frame of an agent");
    const start = 2 + extended;
    if (buffer.length < start + length) return false;
    this.#buffer = buffer.subarray(start + length);
    this.#frame(first & 0x0f, (first & 0x80) !== 0, buffer.subarray(start, start + length));
    return true;
  }

  /** @param {number} kind @param {boolean} final @param {Buffer} data */
  #frame(kind, final, data) {
    if (kind === PING) return this.#write(PONG, data);
    if (kind === PONG) return;
    if (kind === CLOSE) {
      this.#code = data.length >= 2 ? data.readUInt16BE(0) : 1005;
      this.#reason = data.subarray(2).toString();
      this.close(data.length >= 2 ? this.#code : 1000);
      return;
    }
    if (kind !== CONTINUATION) this.#partsKind = kind;
    this.#parts.push(data);
    this.#partsLength += data.length;
    if (this.#partsLength > MAX_MESSAGE_BYTES) throw new Error("too large a message");
    if (!final) return;
    const message = this.#parts.length === 1 ? data : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#partsLength = 0;
    const bytes = new Uint8Array(message.buffer, message.byteOffset, message.length); // a Buffer slices unlike it
    this.onmessage?.({ data: this.#partsKind === TEXT ? message.toString() : bytes });
  }
}
