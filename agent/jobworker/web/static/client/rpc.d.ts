// Made by docs/generate.py of the types of the agent: run it after a change of a type.

/** What the agent uses of its host and of its budgets, in bytes and numbers.

`disk` and `inodes` are those of the file system of the state folder: `limit` is what this user can have of them.
`descriptors` are those of the agent, `inotify` the instances of its user. `jobs` and `logs` are the ended jobs
that are kept and the bytes of their logs, `audit` the bytes of the audit log. `keeper_current` is whether the
keeper runs the program that is installed now. `ready` has the checks of `/readyz`: `ok`, or what is wrong.
`started` is when the agent started, `connections` are those that are logged in. */
export interface AgentHealth {
  time: string;
  version: string;
  python: string;
  state: string;
  read_only: boolean;
  disk: Amount;
  inodes: Amount;
  descriptors: Amount;
  inotify: Amount;
  jobs: Amount;
  logs: Amount;
  audit: Amount;
  keeper_current: boolean;
  ready: Record<string, string>;
  started: string;
  connections: number;
}

/** What the agent is and can do on its host.

`draining` is since when the agent starts no jobs, null if it does.
A caller that may neither see nor create jobs gets `protocol`, and of `limits` the sizes of messages and batches. */
export interface AgentInfo {
  version?: string;
  pid?: number;
  address?: string;
  protocol: string;
  tls?: Record<string, any>;
  durability?: string;
  limits: Record<string, any>;
  plugins?: PluginInfo[];
  keeper?: Record<string, number | null>;
  capabilities?: Record<string, any>;
  running?: number;
  draining?: string | null;
}

/** How much of something is used; `limit` None: there is no limit. */
export interface Amount {
  used: number;
  limit: number | null;
}

/** The newest entries that fit, the oldest of them first. */
export interface AuditEntries {
  entries: AuditEntry[];
}

/** A line of the audit log, see `jobworker.auth.audit.Entry`; what does not apply is left out. */
export interface AuditEntry {
  time: string;
  decision: string;
  principal: string | null;
  provider: string | null;
  address: string;
  method: string;
  job?: string;
  target?: string;
  outcome?: string;
  reason?: string;
  bytes?: number;
  before?: string;
  ref?: string;
  unwritten?: number;
}

/** Bytes in place of a string: `{"base64": "/w=="}`; `str` of it has those that are not UTF-8 as surrogates. */
export interface Base64 {
  base64: string;
}

/** A principal; `id` is the owner of its jobs, if that is not PROVIDER:NAME.

`expires_at` is in seconds since 1970; None: the credentials do not expire. Only `auth.whoami` answers `grants`
and `methods`, those that it may call at all: of one job it may still be refused.
`session` is the secret with which a page logs in again, only in the answer to a login by a ticket. */
export interface Caller {
  name: string;
  provider: string;
  roles: string[];
  issuer: string;
  expires_at: number | null;
  subject?: string;
  id?: string;
  grants?: CallerGrant[];
  methods?: string[];
  session?: string;
}

/** What a caller may do, see `jobworker.interfaces.Grant`: for methods and labels of jobs that match. */
export interface CallerGrant {
  look: string;
  control: string;
  create: boolean;
  admin: boolean;
  methods: string[];
  labels: Record<string, string>;
}

/** Something that happened to a job; `by` is the caller or part that caused it, `time` is empty if unknown. */
export interface ChainLink {
  time: string;
  what: string;
  by: string | null;
  detail: string;
}

/** The number to give with each write, and the end of the input. */
export interface Claimed {
  lease: number;
  offset: number;
}

/** What retention deletes, and how many ended jobs and bytes of logs are kept after that. */
export interface Collected {
  garbage: Garbage[];
  jobs: number;
  bytes: number;
}

/** An open connection; `principal` is None before its login, `own` marks the connection of the call. */
export interface Connected {
  id: string;
  principal: string | null;
  roles: string[];
  address: string;
  since: string;
  own: boolean;
}

export interface Deleted {
  deleted: boolean;
}

/** How many processes received the signal. */
export interface Delivered {
  delivered: number;
}

/** Since when the agent starts no jobs, null if it does; and how many jobs run. */
export interface Drained {
  draining: string | null;
  running: number;
}

/** The params of `event.gap`: events after revision `from` and up to `to` are no longer kept. */
export interface EventGap {
  subscription: string;
  from: number;
  to: number;
}

/** The name of the subscription, and the revision after which its events begin. */
export interface EventsSubscribed {
  subscription: string;
  revision: number;
}

/** What runs a job in place of the agent: the name of an executor, and its options, which that checks. */
export interface ExecutorSpec {
  name: string;
  options?: Record<string, any>;
}

/** How a job ended: of `code` and `signal` (a name) at most one is not null.

For `start_failed`, `step` and `errno` have the cause. `usage` is at that moment, None if the job never ran.
`ran_seconds` is measured by a clock that no one can set; None if the job never ran, or was lost. */
export interface Exit {
  code: number | null;
  signal: string | null;
  reason: Reason;
  by: string | null;
  message: string;
  receipt: Receipt | null;
  step: string | null;
  errno: number | null;
  usage: Usage | null;
  ran_seconds: number | null;
  stdin_unread: number | null;
}

/** Why a job is in its state: `chain` has what happened to it, in order. */
export interface Explanation {
  id: string;
  summary: string;
  chain: ChainLink[];
}

/** Deleted for a reason: a limit of `retention` (`age`, `jobs`, `bytes`), or `no_job`: logs without one. */
export interface Garbage {
  reason: string;
  count: number;
  bytes: number;
}

/** The number of bytes of the whole input; None if it is unknown, as the keeper has no such job any more. */
export interface InputEnd {
  offset: number | null;
}

/** A job as callers see it. */
export interface Job {
  id: string;
  name: string | null;
  state: State;
  owner: string;
  pid: number | null;
  created_at: string;
  started_at: string | null;
  exited_at: string | null;
  exit: Exit | null;
  log: LogInfo;
  labels: Record<string, string>;
  writer: Writer | null;
  waiting: Waiting | null;
  node: string | null;
  queued: Queued | null;
  revision: number;
  spec: JobSpec;
}

/** What happened to a job, and the job as it was then; `by` is the caller or part that caused it.

`event` is `created`, `queued` (for an executor; also when why it waits has changed), `started`, `updated`,
`paused`, `resumed`, `deadline_near`, `limit_failed` (a time limit that cannot be applied), `stopping`,
`exited` (also for a job that was lost or not started), `stopped` (the stop is over: `exit` has its
receipt), `writer` (its input was claimed or released), `waiting` (it waits for its input, or does no
longer), `late_exit` (a lost job has ended after all, and stays lost), `answered` (a time limit wrote to its
input) or `deleted`. The params of `job.event` have the name of the subscription as well. */
export interface JobEvent {
  revision: number;
  time: string;
  event: string;
  by: string | null;
  detail: string;
  job: JobSummary;
}

/** The newest jobs first; `next` is the cursor of the next page, None after the last. */
export interface JobPage {
  jobs: Job[];
  next: string | null;
}

/** What to run. Exactly one of `argv` and `shell`; `docs/reference/job-spec.md` describes each field. */
export interface JobSpec {
  argv?: (string | Base64)[];
  shell?: string | Base64;
  name?: string | null;
  env?: Record<string, string | Base64>;
  secrets?: Record<string, string | SecretRef>;
  secret_files?: Record<string, string | SecretRef>;
  cwd?: string | Base64 | null;
  user?: string | number | null;
  group?: string | number | null;
  umask?: number | string | null;
  nice?: number | null;
  rlimits?: Record<string, any>;
  limits?: LimitSpec;
  stdin?: string | null;
  tty?: boolean | TtySpec;
  timeout?: number | string | null;
  idle_timeout?: number | string | null;
  timeout_policies?: TimeoutSpec[];
  stop?: StopSpec;
  log?: LogSpec;
  leftovers?: string;
  labels?: Record<string, string>;
  pid_namespace?: boolean;
  private_tmp?: boolean;
  sandbox?: SandboxSpec | null;
  executor?: ExecutorSpec | null;
}

/** A job as callers see it, without its spec. */
export interface JobSummary {
  id: string;
  name: string | null;
  state: State;
  owner: string;
  pid: number | null;
  created_at: string;
  started_at: string | null;
  exited_at: string | null;
  exit: Exit | null;
  log: LogInfo;
  labels: Record<string, string>;
  writer: Writer | null;
  waiting: Waiting | null;
  node: string | null;
  queued: Queued | null;
  revision: number;
}

/** What all processes of a job together may use at most; `memory` includes swap.

`io_read`, `io_write`: bytes a second, of the disk that holds the job's cwd, or by device. */
export interface LimitSpec {
  cpus?: number | null;
  memory?: number | string | null;
  pids?: number | null;
  io_read?: number | string | Record<string, number | string> | null;
  io_write?: number | string | Record<string, number | string> | null;
}

/** Changes to `limits` of a spec: an absent limit stays, null removes it. */
export interface Limits {
  cpus?: number | null;
  memory?: number | string | null;
  pids?: number | null;
  io_read?: number | string | Record<string, number | string> | null;
  io_write?: number | string | Record<string, number | string> | null;
}

/** The params of `log.end`, the last notification of a subscription; `truncated`: some output was never kept. */
export interface LogEnd {
  subscription: string;
  job: string;
  offset: number;
  state: State;
  exit: Exit | null;
  truncated: boolean;
}

/** The params of `log.gap`: bytes that the log does not have, with the reason; it continues at `to`. */
export interface LogGap {
  subscription: string;
  job: string;
  from: number;
  to: number;
  reason: string;
}

/** How many bytes the job has written; `first_offset` is the offset of the oldest byte that is kept. */
export interface LogInfo {
  bytes: number;
  first_offset: number;
  truncated: boolean;
}

/** One line, from `offset` to `end`, in parts of one stream each; `cut`: it has more than these. */
export interface LogLine {
  line: number;
  offset: number;
  end: number;
  records: LogRecord[];
  cut: boolean;
}

/** Lines in order; unless `complete`, none yet, as those before are still being counted: call again.

`total` is the number of lines in the log, None if they are not all counted. `end` is the end of the log at
present, `numbered_from` the offset at which line 1 begins. */
export interface LogLines {
  lines: LogLine[];
  complete: boolean;
  total: number | null;
  end: number;
  numbered_from: number;
}

/** A match: `length` bytes of a stream from `offset` on, which are in `data`, bytes of that line, from `at` on.

`cut`: the line has more than `data`. `encoding` of the data is `utf8` or `base64`; `at` counts bytes in any case. */
export interface LogMatch {
  offset: number;
  stream: string;
  line: number;
  length: number;
  data: string;
  encoding: string;
  at: number;
  cut: boolean;
}

/** What one call has found; unless it is `complete`, the next one goes on at `next`.

`end` is the end of the log at present, `numbered_from` the offset at which line 1 begins. */
export interface LogMatches {
  matches: LogMatch[];
  count: number;
  next: number;
  end: number;
  complete: boolean;
  numbered_from: number;
}

/** Bytes of one stream from `offset` on; or a gap in the log: `from`, `to` and the `reason` in place of data.

`encoding` of the data is `utf8` or `base64`; `time` is the arrival of its first byte. */
export interface LogRecord {
  job: string;
  offset?: number;
  stream?: string;
  time?: string;
  data?: string;
  encoding?: string;
  from?: number;
  to?: number;
  reason?: string;
}

/** One page of a log; the next begins at `next`, and `end` is the end of the log at present. */
export interface LogRecords {
  records: LogRecord[];
  next: number;
  end: number;
}

/** How a job's output is kept.

`max_bytes`: its size, by default as configured; `keep`: the `newest` output or the `oldest`.
`on_bound`: beyond that, output is dropped (`drop`), or the job waits until it was read (`wait`).
`merge`: both streams as one. `on_full`: on a full disk the job waits (`wait`), or output is dropped (`drop`). */
export interface LogSpec {
  max_bytes?: number | string | null;
  keep?: string;
  on_bound?: string;
  merge?: boolean;
  on_full?: string;
}

/** A token with its secret, which the agent returns only here; `expires_at` None: it does not expire. */
export interface NewToken {
  name: string;
  roles: string[];
  token: string;
  expires_at: string | null;
}

/** An installed plugin; of an enabled one `registers` has KIND:NAME, and `settings` the keys of its table.

An enabled one also has `blocked`, the number of `faults` and of its `tasks`, and whether it is `dropped`. */
export interface PluginInfo {
  name: string;
  package: string;
  version: string;
  enabled: boolean;
  registers: string[];
  settings: string[];
  blocked?: boolean;
  faults?: number;
  tasks?: number;
  dropped?: boolean;
}

export interface Plugins {
  plugins: PluginInfo[];
}

/** The time of the agent's clock. */
export interface Pong {
  time: string;
}

/** A job waits for the engine of its executor, for a `reason` in the engine's words.

`starts` is when the engine expects to start it; None if it does not know. */
export interface Queued {
  reason: string;
  starts: string | null;
}

/** Why a job ended. */
export type Reason = "finished" | "lost" | "oom" | "shutdown" | "start_failed" | "stopped" | "timeout";

/** What a stop did. `method`: `namespace`, `cgroup` or `sweep`; `proof`: `complete`, `best_effort` or `none`. */
export interface Receipt {
  strategy: string;
  method: string;
  proof: string;
  steps: Step[];
  survivors: (Record<string, any>)[];
}

export interface Released {
  released: boolean;
}

/** The new secret of a token. */
export interface RenewedToken {
  name: string;
  token: string;
  expires_at: string | null;
}

/** The size of the terminal, in characters. */
export interface Resized {
  rows: number;
  cols: number;
}

/** What a job may do of that which a process may; by default all. */
export interface SandboxSpec {
  network?: boolean;
  write?: string[];
  userns?: boolean;
}

/** What the terminal of a job shows after all output before `offset`.

`text` has the rows, without the spaces at their ends. `exact`: nothing before was left out that could still be
seen. `alternate`: a program shows its own screen in place of the usual one. `ansi` is the output that draws the
screen on a terminal of this size, and sets its modes. */
export interface Screen {
  id: string;
  offset: number;
  exact: boolean;
  rows: number;
  cols: number;
  cursor: ScreenCursor;
  title: string;
  alternate: boolean;
  text: string[];
  ansi?: string;
}

/** The place of the next character: row and column, counted from 0. */
export interface ScreenCursor {
  row: number;
  col: number;
  visible: boolean;
}

/** A secret that the agent gets from a secret provider when the job starts: the provider, and its name there. */
export interface SecretRef {
  provider: string;
  name: string;
}

export interface Sessions {
  sessions: Connected[];
}

/** How many sessions were ended. */
export interface SessionsEnded {
  ended: number;
}

/** The state of a job; `exit` has how it ended. */
export type State = "created" | "exited" | "lost" | "paused" | "queued" | "running" | "stopping";

/** One step of a stop. `alive` is how many processes there were before it, null if they were not counted.

`action` is `signal` (with `signal`, `target`, `alive`, `delivered`), `asked` (otherwise than by a signal),
`strategy_failed`, `kill` (by the agent, of what the strategy left), `kill_failed`, `continued` (by the
agent after one that died within the stop) or `gone`; `detail` has more. */
export interface Step {
  time: string;
  action: string;
  signal?: string | null;
  target?: string | null;
  alive?: number | null;
  delivered?: number | null;
  detail?: string | null;
}

/** How to stop a job; absent fields are taken from the job's spec, then from the configuration. */
export interface StopSpec {
  strategy?: string | null;
  signal?: string | null;
  grace?: number | string | null;
  options?: Record<string, any>;
}

/** The name of the subscription, and the offset of the first byte that it sends. */
export interface Subscribed {
  subscription: string;
  offset: number;
}

/** A size of a job's terminal; `offset` is that of the first output for it, `time` None: since the start. */
export interface TerminalSize {
  offset: number;
  time: string | null;
  rows: number;
  cols: number;
}

/** In the order of their times. */
export interface TerminalSizes {
  sizes: TerminalSize[];
}

/** A code with which a page of `origin` logs in, once; `url` is the agent's own page, if it is of that origin. */
export interface Ticket {
  ticket: string;
  expires_at: string;
  origin: string;
  url?: string;
}

/** One time limit: the name of a timeout policy, and its options. */
export interface TimeoutSpec {
  policy: string;
  options?: Record<string, any>;
}

/** A token without its secret; `id` is the principal. */
export interface Token {
  name: string;
  id: string;
  roles: string[];
  created_at: string;
  expires_at: string | null;
  last_used: string | null;
}

export interface Tokens {
  tokens: Token[];
}

/** The terminal of a job: its size when the job starts, and what `TERM` is in the environment. */
export interface TtySpec {
  rows?: number;
  cols?: number;
  term?: string;
}

/** What a job has used: seconds, bytes, tasks (processes with their threads); None: unknown.

`source` has what counted each of `cpu`, `memory`, `pids` and `io` that is known: `cgroup` and `cgroup-v1` count
the whole job; `rusage` only the main process and the children that it waited for, and as memory the peak of the
largest of these; `proc` (of a running job) the processes that run now. */
export interface Usage {
  cpu_seconds: number | null;
  cpu_user: number | null;
  cpu_system: number | null;
  memory_peak: number | null;
  pids_peak: number | null;
  io_read_bytes: number | null;
  io_write_bytes: number | null;
  source: Record<string, string>;
}

/** A job waits for its input since `since`; `prompt` is the last line of its output, if that has no end yet. */
export interface Waiting {
  prompt: string;
  since: string;
}

/** The principal that has claimed the input of a job, and since when. */
export interface Writer {
  by: string;
  since: string;
}

/** How many bytes of the data are new to the input, and the end of the input after them. */
export interface Written {
  accepted: number;
  offset: number;
}

/** What a job uses now and has used so far, or had used when it ended.

`memory` in bytes, `pids` in tasks. `limits` are those in force. `processes` has for each `pid`, `name`, `command`
(None if it cannot be read), `cpu_seconds`, `memory` (resident bytes) and `threads`. */
export interface Stats {
  cpu_seconds: number | null;
  cpu_user: number | null;
  cpu_system: number | null;
  memory_peak: number | null;
  pids_peak: number | null;
  io_read_bytes: number | null;
  io_write_bytes: number | null;
  source: Record<string, string>;
  id: string;
  name: string | null;
  state: State;
  at: string;
  memory: number | null;
  pids: number | null;
  limits: LimitSpec;
  processes?: (Record<string, any>)[];
}

/** The job as it was started, and the name of the subscription to its log. */
export interface Run {
  job: Job;
  subscription: string;
}

export interface Methods {
  /** Create and start no more jobs, also after a restart, until `agent.undrain`; those that run go on. */
  "agent.drain": { params: {}; result: Drained };
  /** Return what `agent.gc` would delete now, also with other limits than those of the configuration. */
  "agent.garbage": { params: { age?: number | string | null; jobs?: number | null; bytes?: number | string | null }; result: Collected };
  /** Delete now what retention deletes, and logs that belong to no job; return what that was. */
  "agent.gc": { params: {}; result: Collected };
  /** Return what the agent uses of its host and of its budgets. */
  "agent.health": { params: {}; result: AgentHealth };
  /** Describe the agent; a caller that may do nothing learns only what it needs to speak to it. */
  "agent.info": { params: {}; result: AgentInfo };
  /** Return the time of the agent's clock. */
  "agent.ping": { params: {}; result: Pong };
  /** Execute the agent again in place, with its current configuration; clients that connect meanwhile wait. */
  "agent.restart": { params: {}; result: boolean };
  /** End the agent; jobs that are left run on under the keeper until the next agent adopts them. */
  "agent.shutdown": { params: { jobs?: "leave" | "stop" }; result: boolean };
  /** Create and start jobs again. */
  "agent.undrain": { params: {}; result: Drained };
  /** Return the newest entries of the audit log. */
  "audit.list": { params: { limit?: number; job?: string | null; principal?: string | null; denied?: boolean }; result: AuditEntries };
  /** Authenticate a connection that was opened without credentials. */
  "auth.login": { params: { token?: string | null; username?: string | null; password?: string | null; ticket?: string | null; session?: string | null }; result: Caller };
  /** End this connection and, in a page that has a session, the session with all of its connections. */
  "auth.logout": { params: {}; result: boolean };
  /** Return a code with which one page in a browser becomes this caller, once and soon. */
  "auth.ticket": { params: { origin?: string | null }; result: Ticket };
  /** Return the principal of this connection, and what it may do. */
  "auth.whoami": { params: {}; result: Caller };
  /** Send the events after a revision; without one, from now on. */
  "event.subscribe": { params: { from?: number | null }; result: EventsSubscribed };
  /** End a subscription; no notification of it follows the answer. */
  "event.unsubscribe": { params: { subscription: string }; result: boolean };
  /** Create a job, which does not run yet; with a key that was used before, return the job of that call. */
  "job.create": { params: { spec: JobSpec; key?: string | null }; result: Job };
  /** Delete a job that has ended, with its log. */
  "job.delete": { params: { id: string; force?: boolean }; result: Deleted };
  /** Explain why the job is in its state: each step in order, with the principal or part that caused it. */
  "job.explain": { params: { id: string }; result: Explanation };
  /** List the jobs that the caller may see, the newest first, page by page. */
  "job.list": { params: { states?: State[] | null; labels?: Record<string, string>; owner?: string | null; limit?: number; cursor?: string | null }; result: JobPage };
  /** Freeze the whole process tree. */
  "job.pause": { params: { id: string }; result: Job };
  /** Change the size of the job's terminal; its processes in the foreground get SIGWINCH. */
  "job.resize": { params: { id: string; rows: number; cols: number; lease?: number | null }; result: Resized };
  /** Continue a paused job. */
  "job.resume": { params: { id: string }; result: Job };
  /** Create a job, subscribe to its log from byte 0 and start it; with the key of a started job, only subscribe. */
  "job.run": { params: { spec: JobSpec; key?: string | null; encoding?: "auto" | "base64" }; result: Run };
  /** Send a signal, which is not a stop: a job that ends of it has finished, and the exit names the sender. */
  "job.signal": { params: { id: string; signal: string; target?: "all" | "main" }; result: Delivered };
  /** Start a job that was created. */
  "job.start": { params: { id: string }; result: Job };
  /** Return what the job uses now, or has used if it has ended. */
  "job.stats": { params: { id: string; processes?: boolean }; result: Stats };
  /** Return a job as it is now. */
  "job.status": { params: { id: string }; result: Job };
  /** Stop a job, and return when its whole process tree is gone. */
  "job.stop": { params: { id: string; stop?: StopSpec | null }; result: Job };
  /** Change the given fields; of a running job, the deadline moves and the limits apply at once. */
  "job.update": { params: { id: string; timeout?: number | string | null; idle_timeout?: number | string | null; timeout_policies?: TimeoutSpec[]; labels?: Record<string, string>; limits?: Limits; force?: boolean }; result: Job };
  /** Return a job when it has ended. */
  "job.wait": { params: { id: string; timeout?: number | string | null }; result: Job };
  /** Return lines from a number on, or around an offset. */
  "log.lines": { params: { id: string; line?: number | null; around?: number | null; count?: number; encoding?: "auto" | "base64" }; result: LogLines };
  /** Return one page from an offset, the offset of the next page, and the end of the log at present. */
  "log.read": { params: { id: string; offset?: number; max_bytes?: number; arrivals?: boolean; streams?: ("stderr" | "stdout")[] | null; encoding?: "auto" | "base64" }; result: LogRecords };
  /** Return the matches of a pattern from an offset on, as many as are found in half a second. */
  "log.search": { params: { pattern: string; id: string; regex?: boolean; case?: boolean; from?: number; limit?: number; once?: boolean; excerpt?: number; streams?: ("stderr" | "stdout")[] | null; encoding?: "auto" | "base64" }; result: LogMatches };
  /** Return the sizes that the job's terminal had, each with the offset of the output that was written for it. */
  "log.sizes": { params: { id: string }; result: TerminalSizes };
  /** Send the log from an offset, a number of lines before its end, or a time. */
  "log.subscribe": { params: { id: string; offset?: number | null; tail?: number | null; since?: string | number | null; until?: string | number | null; follow?: boolean; arrivals?: boolean; streams?: ("stderr" | "stdout")[] | null; encoding?: "auto" | "base64" }; result: Subscribed };
  /** End a subscription; no notification of it follows the answer. */
  "log.unsubscribe": { params: { subscription: string }; result: boolean };
  /** Return enabled plugins in the order of the configuration, then, for an admin, the others by name. */
  "plugin.list": { params: {}; result: Plugins };
  /** Return an OpenRPC document with the params and the result of each method. */
  "rpc.discover": { params: {}; result: Record<string, any> };
  /** Return the screen of a job with a terminal, after all of its output by now. */
  "screen.read": { params: { id: string; ansi?: boolean }; result: Screen };
  /** Take the access from one session, or from all of a principal; they may log in again if they can. */
  "session.end": { params: { id?: string | null; principal?: string | null }; result: SessionsEnded };
  /** List the open connections, the oldest first. */
  "session.list": { params: {}; result: Sessions };
  /** Make this connection the only one that writes to the job, until it releases the claim or is closed. */
  "stdin.claim": { params: { id: string; steal?: boolean }; result: Claimed };
  /** End the input of a job, once the job was given all that was accepted. */
  "stdin.close": { params: { id: string; offset?: number | null; lease?: number | null }; result: InputEnd };
  /** Give up a claim: each client that controls the job may write to it again. */
  "stdin.release": { params: { id: string; lease: number }; result: Released };
  /** Append to the input of a job; wait while the job does not read. */
  "stdin.write": { params: { id: string; data?: string; encoding?: "base64" | "utf8"; close_on_disconnect?: boolean; offset?: number | null; lease?: number | null }; result: Written };
  /** Create a token and return it: the agent keeps only its hash. */
  "token.create": { params: { name: string; roles: string[]; expires_in?: number | string | null }; result: NewToken };
  /** List the tokens, without their secrets. */
  "token.list": { params: {}; result: Tokens };
  /** Return a new secret for a token, which keeps its roles and its jobs; the old one ends at once. */
  "token.renew": { params: { name: string; expires_in?: number | string | null }; result: RenewedToken };
  /** Revoke a token and close its connections. */
  "token.revoke": { params: { name: string }; result: boolean };
}

export interface CallOptions {
  signal?: AbortSignal;
}

export interface AgentMethods {
  /** Create and start no more jobs, also after a restart, until `agent.undrain`; those that run go on. */
  drain(params?: Methods["agent.drain"]["params"], options?: CallOptions): Promise<Methods["agent.drain"]["result"]>;
  /** Return what `agent.gc` would delete now, also with other limits than those of the configuration. */
  garbage(params?: Methods["agent.garbage"]["params"], options?: CallOptions): Promise<Methods["agent.garbage"]["result"]>;
  /** Delete now what retention deletes, and logs that belong to no job; return what that was. */
  gc(params?: Methods["agent.gc"]["params"], options?: CallOptions): Promise<Methods["agent.gc"]["result"]>;
  /** Return what the agent uses of its host and of its budgets. */
  health(params?: Methods["agent.health"]["params"], options?: CallOptions): Promise<Methods["agent.health"]["result"]>;
  /** Describe the agent; a caller that may do nothing learns only what it needs to speak to it. */
  info(params?: Methods["agent.info"]["params"], options?: CallOptions): Promise<Methods["agent.info"]["result"]>;
  /** Return the time of the agent's clock. */
  ping(params?: Methods["agent.ping"]["params"], options?: CallOptions): Promise<Methods["agent.ping"]["result"]>;
  /** Execute the agent again in place, with its current configuration; clients that connect meanwhile wait. */
  restart(params?: Methods["agent.restart"]["params"], options?: CallOptions): Promise<Methods["agent.restart"]["result"]>;
  /** End the agent; jobs that are left run on under the keeper until the next agent adopts them. */
  shutdown(params?: Methods["agent.shutdown"]["params"], options?: CallOptions): Promise<Methods["agent.shutdown"]["result"]>;
  /** Create and start jobs again. */
  undrain(params?: Methods["agent.undrain"]["params"], options?: CallOptions): Promise<Methods["agent.undrain"]["result"]>;
}

export interface AuditMethods {
  /** Return the newest entries of the audit log. */
  list(params?: Methods["audit.list"]["params"], options?: CallOptions): Promise<Methods["audit.list"]["result"]>;
}

export interface AuthMethods {
  /** Authenticate a connection that was opened without credentials. */
  login(params?: Methods["auth.login"]["params"], options?: CallOptions): Promise<Methods["auth.login"]["result"]>;
  /** End this connection and, in a page that has a session, the session with all of its connections. */
  logout(params?: Methods["auth.logout"]["params"], options?: CallOptions): Promise<Methods["auth.logout"]["result"]>;
  /** Return a code with which one page in a browser becomes this caller, once and soon. */
  ticket(params?: Methods["auth.ticket"]["params"], options?: CallOptions): Promise<Methods["auth.ticket"]["result"]>;
  /** Return the principal of this connection, and what it may do. */
  whoami(params?: Methods["auth.whoami"]["params"], options?: CallOptions): Promise<Methods["auth.whoami"]["result"]>;
}

export interface EventMethods {
  /** Send the events after a revision; without one, from now on. */
  subscribe(params?: Methods["event.subscribe"]["params"], options?: CallOptions): Promise<Methods["event.subscribe"]["result"]>;
  /** End a subscription; no notification of it follows the answer. */
  unsubscribe(params: Methods["event.unsubscribe"]["params"], options?: CallOptions): Promise<Methods["event.unsubscribe"]["result"]>;
}

export interface JobMethods {
  /** Create a job, which does not run yet; with a key that was used before, return the job of that call. */
  create(params: Methods["job.create"]["params"], options?: CallOptions): Promise<Methods["job.create"]["result"]>;
  /** Delete a job that has ended, with its log. */
  delete(params: Methods["job.delete"]["params"], options?: CallOptions): Promise<Methods["job.delete"]["result"]>;
  /** Explain why the job is in its state: each step in order, with the principal or part that caused it. */
  explain(params: Methods["job.explain"]["params"], options?: CallOptions): Promise<Methods["job.explain"]["result"]>;
  /** List the jobs that the caller may see, the newest first, page by page. */
  list(params?: Methods["job.list"]["params"], options?: CallOptions): Promise<Methods["job.list"]["result"]>;
  /** Freeze the whole process tree. */
  pause(params: Methods["job.pause"]["params"], options?: CallOptions): Promise<Methods["job.pause"]["result"]>;
  /** Change the size of the job's terminal; its processes in the foreground get SIGWINCH. */
  resize(params: Methods["job.resize"]["params"], options?: CallOptions): Promise<Methods["job.resize"]["result"]>;
  /** Continue a paused job. */
  resume(params: Methods["job.resume"]["params"], options?: CallOptions): Promise<Methods["job.resume"]["result"]>;
  /** Create a job, subscribe to its log from byte 0 and start it; with the key of a started job, only subscribe. */
  run(params: Methods["job.run"]["params"], options?: CallOptions): Promise<Methods["job.run"]["result"]>;
  /** Send a signal, which is not a stop: a job that ends of it has finished, and the exit names the sender. */
  signal(params: Methods["job.signal"]["params"], options?: CallOptions): Promise<Methods["job.signal"]["result"]>;
  /** Start a job that was created. */
  start(params: Methods["job.start"]["params"], options?: CallOptions): Promise<Methods["job.start"]["result"]>;
  /** Return what the job uses now, or has used if it has ended. */
  stats(params: Methods["job.stats"]["params"], options?: CallOptions): Promise<Methods["job.stats"]["result"]>;
  /** Return a job as it is now. */
  status(params: Methods["job.status"]["params"], options?: CallOptions): Promise<Methods["job.status"]["result"]>;
  /** Stop a job, and return when its whole process tree is gone. */
  stop(params: Methods["job.stop"]["params"], options?: CallOptions): Promise<Methods["job.stop"]["result"]>;
  /** Change the given fields; of a running job, the deadline moves and the limits apply at once. */
  update(params: Methods["job.update"]["params"], options?: CallOptions): Promise<Methods["job.update"]["result"]>;
  /** Return a job when it has ended. */
  wait(params: Methods["job.wait"]["params"], options?: CallOptions): Promise<Methods["job.wait"]["result"]>;
}

export interface LogMethods {
  /** Return lines from a number on, or around an offset. */
  lines(params: Methods["log.lines"]["params"], options?: CallOptions): Promise<Methods["log.lines"]["result"]>;
  /** Return one page from an offset, the offset of the next page, and the end of the log at present. */
  read(params: Methods["log.read"]["params"], options?: CallOptions): Promise<Methods["log.read"]["result"]>;
  /** Return the matches of a pattern from an offset on, as many as are found in half a second. */
  search(params: Methods["log.search"]["params"], options?: CallOptions): Promise<Methods["log.search"]["result"]>;
  /** Return the sizes that the job's terminal had, each with the offset of the output that was written for it. */
  sizes(params: Methods["log.sizes"]["params"], options?: CallOptions): Promise<Methods["log.sizes"]["result"]>;
  /** Send the log from an offset, a number of lines before its end, or a time. */
  subscribe(params: Methods["log.subscribe"]["params"], options?: CallOptions): Promise<Methods["log.subscribe"]["result"]>;
  /** End a subscription; no notification of it follows the answer. */
  unsubscribe(params: Methods["log.unsubscribe"]["params"], options?: CallOptions): Promise<Methods["log.unsubscribe"]["result"]>;
}

export interface PluginMethods {
  /** Return enabled plugins in the order of the configuration, then, for an admin, the others by name. */
  list(params?: Methods["plugin.list"]["params"], options?: CallOptions): Promise<Methods["plugin.list"]["result"]>;
}

export interface RpcMethods {
  /** Return an OpenRPC document with the params and the result of each method. */
  discover(params?: Methods["rpc.discover"]["params"], options?: CallOptions): Promise<Methods["rpc.discover"]["result"]>;
}

export interface ScreenMethods {
  /** Return the screen of a job with a terminal, after all of its output by now. */
  read(params: Methods["screen.read"]["params"], options?: CallOptions): Promise<Methods["screen.read"]["result"]>;
}

export interface SessionMethods {
  /** Take the access from one session, or from all of a principal; they may log in again if they can. */
  end(params?: Methods["session.end"]["params"], options?: CallOptions): Promise<Methods["session.end"]["result"]>;
  /** List the open connections, the oldest first. */
  list(params?: Methods["session.list"]["params"], options?: CallOptions): Promise<Methods["session.list"]["result"]>;
}

export interface StdinMethods {
  /** Make this connection the only one that writes to the job, until it releases the claim or is closed. */
  claim(params: Methods["stdin.claim"]["params"], options?: CallOptions): Promise<Methods["stdin.claim"]["result"]>;
  /** End the input of a job, once the job was given all that was accepted. */
  close(params: Methods["stdin.close"]["params"], options?: CallOptions): Promise<Methods["stdin.close"]["result"]>;
  /** Give up a claim: each client that controls the job may write to it again. */
  release(params: Methods["stdin.release"]["params"], options?: CallOptions): Promise<Methods["stdin.release"]["result"]>;
  /** Append to the input of a job; wait while the job does not read. */
  write(params: Methods["stdin.write"]["params"], options?: CallOptions): Promise<Methods["stdin.write"]["result"]>;
}

export interface TokenMethods {
  /** Create a token and return it: the agent keeps only its hash. */
  create(params: Methods["token.create"]["params"], options?: CallOptions): Promise<Methods["token.create"]["result"]>;
  /** List the tokens, without their secrets. */
  list(params?: Methods["token.list"]["params"], options?: CallOptions): Promise<Methods["token.list"]["result"]>;
  /** Return a new secret for a token, which keeps its roles and its jobs; the old one ends at once. */
  renew(params: Methods["token.renew"]["params"], options?: CallOptions): Promise<Methods["token.renew"]["result"]>;
  /** Revoke a token and close its connections. */
  revoke(params: Methods["token.revoke"]["params"], options?: CallOptions): Promise<Methods["token.revoke"]["result"]>;
}
