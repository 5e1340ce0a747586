// The interface of jobworker.js. Types of the protocol are in rpc.d.ts.

import type * as rpc from "./rpc.d.ts";

export type * from "./rpc.d.ts";

/** Where an agent is: `https://HOST:PORT`, `wss://HOST:PORT/rpc`, or in Node.js `unix:///PATH`. */
export interface Endpoint {
  url: string | URL;
  token?: string;
  /** In Node.js: certificates in PEM to trust, in place of those of the system. */
  ca?: string | Uint8Array;
}

/** A function is called for each connection. */
export type Place = string | URL | Endpoint | (() => Endpoint | Promise<Endpoint>);

export type State = "connected" | "reconnecting" | "closed";

export interface ConnectOptions {
  token?: string;
  username?: string;
  password?: string;
  /** Of `auth.ticket`. */
  ticket?: string;
  /** `secret` of an agent that was logged in to by a ticket. */
  session?: string;
  /** In Node.js: certificates in PEM to trust, in place of those of the system. */
  ca?: string | Uint8Array;
  /** In Node.js: a client certificate and its key, in PEM. */
  cert?: string | Uint8Array;
  key?: string | Uint8Array;
  /** A constructor to use in place of the page's, or of the one of this package. */
  WebSocket?: new (url: string, protocols: string[]) => any;
  /** How long a lost connection is tried again: for ever in a page, 60 s in Node.js. */
  reconnectSeconds?: number;
  /** Ends connecting, and closes the client. */
  signal?: AbortSignal;
  onstate?: (state: State, reason: Error | undefined) => void;
}

export interface LogOptions {
  /** Where to begin: at most one of `offset`, `tail` (lines before the end) and `since`. */
  offset?: number;
  tail?: number;
  since?: string | number;
  /** With `follow: false`. */
  until?: string | number;
  streams?: ("stdout" | "stderr")[];
  /** False: end at the current end of the log. */
  follow?: boolean;
  /** Each arrival by itself, with its own time. */
  arrivals?: boolean;
  signal?: AbortSignal;
}

export interface LogData {
  kind: "data";
  /** Of the first byte; of the byte after the last. */
  offset: number;
  end: number;
  stream: "stdout" | "stderr";
  time: string;
  bytes: Uint8Array;
}

export interface LogGapPiece {
  kind: "gap";
  from: number;
  to: number;
  reason: string;
}

export interface LogEndPiece {
  kind: "end";
  offset: number;
  state: rpc.State;
  exit: rpc.Exit | null;
  truncated: boolean;
}

export type LogPiece = LogData | LogGapPiece | LogEndPiece;

export type EventPiece = ({ kind: "event" } & rpc.JobEvent) | { kind: "gap"; from: number; to: number };

export interface EventOptions {
  /** The last revision that was seen; absent: from now on. */
  from?: number;
  signal?: AbortSignal;
}

/** An error of the agent, with its code; `code` is 0 for an error of the connection or of the client. */
export declare class JobworkerError extends Error {
  constructor(message: string, more?: { code?: number; data?: Record<string, any>; hint?: string; cause?: unknown });
  code: number;
  /** Further members of the error: `reason`, `retryable`, and what belongs to the code. */
  data: Record<string, any>;
  /** What to do next. */
  hint: string;
}

/** No agent answers at the address, or the connection was lost; `sent`: the agent may carry the call out. */
export declare class ConnectionFailed extends JobworkerError {
  constructor(message: string, more?: { sent?: boolean; hint?: string; cause?: unknown });
  sent: boolean;
}

export declare class Agent extends EventTarget {
  /** A "state" event follows each change; `detail` is `{state, reason}`. */
  readonly state: "connecting" | State;
  /** What `auth.whoami` answered for the newest connection. */
  readonly caller: rpc.Caller;
  /** After a log-in by a ticket: what to log in with again, as `session`. */
  readonly secret: string | undefined;
  /** Why the client is closed, if not by `close`. */
  readonly reason: Error | undefined;

  readonly agent: rpc.AgentMethods;
  readonly audit: rpc.AuditMethods;
  readonly auth: rpc.AuthMethods;
  readonly event: rpc.EventMethods;
  readonly job: rpc.JobMethods;
  readonly log: rpc.LogMethods;
  readonly plugin: rpc.PluginMethods;
  readonly rpc: rpc.RpcMethods;
  readonly screen: rpc.ScreenMethods;
  readonly session: rpc.SessionMethods;
  readonly stdin: rpc.StdinMethods;
  readonly token: rpc.TokenMethods;

  /** Call a method; without its result's type for one that this version of the client does not know. */
  call<M extends keyof rpc.Methods>(
    method: M,
    params?: rpc.Methods[M]["params"],
    options?: rpc.CallOptions,
  ): Promise<rpc.Methods[M]["result"]>;
  call(method: string, params?: object, options?: rpc.CallOptions): Promise<any>;

  /** The log of a job; a lost connection, or another agent on the same jobs, is not noticed. */
  logs(id: string, options?: LogOptions): AsyncGenerator<LogPiece, void>;
  events(options?: EventOptions): AsyncGenerator<EventPiece, void>;
  /** Run a line for the shell, or a program and its arguments, with the feel of node:child_process. */
  spawn(command: string | string[], options?: SpawnOptions): Process;
  close(): void;
}

/** The fields of a spec; `stdin: "pipe"` for an input. */
export type SpawnOptions = Omit<rpc.JobSpec, "argv" | "shell">;

export interface ProcessExit {
  code: number | null;
  signal: string | null;
  reason: rpc.Reason;
  job: rpc.Job;
}

/** An output, read from the log of the job: what is not read waits there. */
export interface Output extends AsyncIterable<Uint8Array> {
  /** Ranges passed so far that the log does not hold. */
  readonly gaps: { from: number; to: number; reason: string }[];
  lines(): AsyncGenerator<string, void>;
  text(): Promise<string>;
}

export interface Input {
  /** Resolves when all was accepted: it reaches the job, whatever dies now. */
  write(data: string | Uint8Array): Promise<void>;
  end(data?: string | Uint8Array): Promise<void>;
}

/** A job that runs, or ran. Events: "spawn", "exit" (`detail` is what `exited` gives), "error". */
export declare class Process extends EventTarget {
  /** Undefined until `started`. */
  readonly id: string | undefined;
  readonly pid: number | undefined;
  readonly started: Promise<rpc.Job>;
  readonly exited: Promise<ProcessExit>;
  readonly stdin: Input | null;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Send a signal to all processes of the job, by default SIGTERM; false if it has ended. */
  kill(signal?: string): Promise<boolean>;
  /** Stop the job as its spec has it; resolves when its tree is gone, false if it has ended. */
  stop(stop?: rpc.StopSpec): Promise<boolean>;
}

/** Connect and log in; raise JobworkerError. Without credentials, a client certificate or the socket's user counts. */
export declare function connect(place: Place, options?: ConnectOptions): Promise<Agent>;

/** Connect to the agent on a state folder of this host, by default that of the user. Node.js only. */
export declare function connectLocal(folder?: string, options?: ConnectOptions): Promise<Agent>;

/** Return the bytes of a record of `log.read` or `log.lines`. */
export declare function bytesOf(record: { data?: string; encoding?: string; bytes?: Uint8Array }): Uint8Array;
