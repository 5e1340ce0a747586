"""The objects of the protocol as types: specs, jobs, exits, principals.

Agent, client and plugins share them. On the wire an object has the fields of its type.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from jobworker.text import Text
from jobworker.units import Duration, Rate, Size

MIN_LOG = 64 << 10  # bytes: a smaller log would hold almost no output


class State(StrEnum):
    """The state of a job; `exit` has how it ended."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    EXITED = "exited"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in (State.EXITED, State.LOST)


class Reason(StrEnum):
    """Why a job ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    START_FAILED = "start_failed"
    OOM = "oom"
    LOST = "lost"


class StopSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How to stop a job; absent fields are taken from the job's spec, then from the configuration."""

    strategy: str | None = None
    signal: str | None = None
    grace: Duration | None = None
    options: dict[str, Any] = {}


class TimeoutSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One time limit: the name of a timeout policy, and its options."""

    policy: str
    options: dict[str, Any] = {}


class LogSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a job's output is kept.

    `max_bytes`: its size, by default as configured; `keep`: the `newest` output or the `oldest`.
    `on_bound`: beyond that, output is dropped (`drop`), or the job waits until it was read (`wait`).
    `merge`: both streams as one. `on_full`: on a full disk the job waits (`wait`), or output is dropped (`drop`).
    """

    max_bytes: Size | None = None
    keep: str = "newest"
    on_bound: str = "drop"
    merge: bool = False
    on_full: str = "wait"

    @property
    def waits(self) -> bool:
        """Whether the job waits for its readers when its log is full."""
        return self.on_bound == "wait"

    @property
    def drops(self) -> bool:
        """Whether output is dropped on a full disk."""
        return self.on_full == "drop"


class LimitSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all processes of a job together may use at most; `memory` includes swap.

    `io_read`, `io_write`: bytes a second, of the disk that holds the job's cwd, or by device.
    """

    cpus: int | float | None = None
    memory: Size | None = None
    pids: int | None = None
    io_read: Rate | None = None
    io_write: Rate | None = None


class TtySpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The terminal of a job: its size when the job starts, and what `TERM` is in the environment."""

    rows: int = 24
    cols: int = 80
    term: str = "xterm-256color"


class SandboxSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What a job may do of that which a process may; by default all."""

    network: bool = True
    write: list[str] = field(default_factory=lambda: ["/"])
    userns: bool = True


class JobSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to run. Exactly one of `argv` and `shell`; `docs/reference/job-spec.md` describes each field."""

    argv: Sequence[Text] | UnsetType = UNSET
    shell: Text | UnsetType = UNSET
    name: str | None = None
    env: Mapping[str, Text] = {}
    cwd: Text | None = None
    user: str | int | None = None
    group: str | int | None = None
    umask: int | str | None = None
    nice: int | None = None
    rlimits: dict[str, Any] = {}
    limits: LimitSpec = LimitSpec()
    stdin: str | None = None
    tty: bool | TtySpec = False
    timeout: Duration | UnsetType | None = UNSET
    idle_timeout: Duration | None = None
    timeout_policies: list[TimeoutSpec] = []
    stop: StopSpec = StopSpec()
    log: LogSpec = LogSpec()
    leftovers: str = "stop"
    labels: dict[str, str] = {}
    pid_namespace: bool | UnsetType = UNSET
    private_tmp: bool | UnsetType = UNSET
    sandbox: SandboxSpec | None = None

    def command(self) -> list[str]:
        """Return the argv to execute; here and below surrogates stand for bytes that are not UTF-8."""
        return ["/bin/sh", "-c", str(self.shell)] if self.argv is UNSET else [*map(str, self.argv)]

    def variables(self) -> dict[str, str]:
        """Return the variables of `env`."""
        return {name: str(value) for name, value in self.env.items()}

    def folder(self) -> str:
        """Return `cwd`, "" if there is none."""
        return "" if self.cwd is None else str(self.cwd)

    def has_input(self) -> bool:
        """Whether the job can be written to: a terminal always has an input."""
        return self.stdin is not None or self.tty is not False

    def terminal(self) -> TtySpec | None:
        """Return the terminal that the job is to have."""
        return (TtySpec() if self.tty else None) if isinstance(self.tty, bool) else self.tty


class Step(Struct, frozen=True, omit_defaults=True):
    """One step of a stop. `alive` is how many processes there were before it, null if they were not counted.

    `action` is `signal` (with `signal`, `target`, `alive`, `delivered`), `asked` (otherwise than by a signal),
    `strategy_failed`, `kill` (by the agent, of what the strategy left), `kill_failed`, `continued` (by the
    agent after one that died within the stop) or `gone`; `detail` has more.
    """

    time: str
    action: str
    signal: str | None = None
    target: str | None = None
    alive: int | None = None
    delivered: int | None = None
    detail: str | None = None


class Receipt(Struct, frozen=True):
    """What a stop did. `method`: `namespace`, `cgroup` or `sweep`; `proof`: `complete`, `best_effort` or `none`."""

    strategy: str
    method: str
    proof: str
    steps: list[Step] = []
    survivors: list[dict[str, Any]] = []


class Usage(Struct, frozen=True, kw_only=True):
    """What a job has used: seconds, bytes, tasks (processes with their threads); None: unknown.

    `source` has what counted each of `cpu`, `memory`, `pids` and `io` that is known: `cgroup` and `cgroup-v1` count
    the whole job; `rusage` only the main process and the children that it waited for, and as memory the peak of the
    largest of these; `proc` (of a running job) the processes that run now.
    """

    cpu_seconds: float | None = None
    cpu_user: float | None = None
    cpu_system: float | None = None
    memory_peak: int | None = None
    pids_peak: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    source: dict[str, str] = {}


class Exit(Struct, frozen=True):
    """How a job ended: of `code` and `signal` (a name) at most one is not null.

    For `start_failed`, `step` and `errno` have the cause. `usage` is at that moment, None if the job never ran.
    `ran_seconds` is measured by a clock that no one can set; None if the job never ran, or was lost.
    """

    code: int | None
    signal: str | None
    reason: Reason
    by: str | None = None  # the principal or the part of the agent that caused the end
    message: str = ""
    receipt: Receipt | None = None  # if a stop ended the job
    step: str | None = None
    errno: int | None = None
    usage: Usage | None = None
    ran_seconds: float | None = None
    stdin_unread: int | None = None  # bytes of its input that it left unread; None: it had none, or it is unknown


class LogInfo(Struct, frozen=True):
    """How many bytes the job has written; `first_offset` is the offset of the oldest byte that is kept."""

    bytes: int = 0
    first_offset: int = 0
    truncated: bool = False  # some output was never kept

    @property
    def kept(self) -> int:
        """The number of bytes that the log holds."""
        return self.bytes - self.first_offset


class Writer(Struct, frozen=True):
    """The principal that has claimed the input of a job, and since when."""

    by: str
    since: str


class Waiting(Struct, frozen=True):
    """A job waits for its input since `since`; `prompt` is the last line of its output, if that has no end yet."""

    prompt: str
    since: str


class JobSummary(Struct, frozen=True, kw_only=True):
    """A job as callers see it, without its spec."""

    id: str
    name: str | None
    state: State
    owner: str  # the id of the principal that created it
    pid: int | None = None  # of the main process
    created_at: str  # RFC 3339, as all times here
    started_at: str | None = None
    exited_at: str | None = None
    exit: Exit | None = None
    log: LogInfo = LogInfo()
    labels: dict[str, str] = {}
    writer: Writer | None = None  # the one client that may write to its input; None: each that controls the job
    waiting: Waiting | None = None  # it waits for its input; None: it does not, or that is not known
    revision: int = 0  # of the last change: it orders the events of all jobs


class Job(JobSummary, frozen=True, kw_only=True):
    """A job as callers see it."""

    spec: JobSpec

    def summary(self) -> JobSummary:
        return JobSummary(**dict(zip(_SUMMARY, _summary_of(self), strict=True)))


_SUMMARY = JobSummary.__struct_fields__
_summary_of = attrgetter(*_SUMMARY)  # one call for all fields: each change of a job makes a summary for its event


class Stats(Usage, frozen=True, kw_only=True):
    """What a job uses now and has used so far, or had used when it ended.

    `memory` in bytes, `pids` in tasks. `limits` are those in force. `processes` has for each `pid`, `name`, `command`
    (None if it cannot be read), `cpu_seconds`, `memory` (resident bytes) and `threads`.
    """

    id: str
    name: str | None
    state: State
    at: str
    memory: int | None = None
    pids: int | None = None
    limits: LimitSpec = LimitSpec()
    processes: list[dict[str, Any]] | UnsetType = UNSET


class JobEvent(Struct, frozen=True):
    """What happened to a job, and the job as it was then; `by` is the caller or part that caused it.

    `event` is `created`, `started`, `updated`, `paused`, `resumed`, `deadline_near`, `limit_failed` (a time limit
    that cannot be applied), `stopping`, `exited` (also for a job that was lost or not started), `stopped` (the
    stop is over: `exit` has its receipt), `writer` (its input was claimed or released), `waiting` (it waits for its
    input, or does no longer), `answered` (a time limit wrote to its input) or `deleted`. The params of `job.event`
    have the name of the subscription as well.
    """

    revision: int
    time: str
    event: str
    by: str | None
    detail: str
    job: JobSummary


class ChainLink(Struct, frozen=True):
    """Something that happened to a job; `by` is the caller or part that caused it, `time` is empty if unknown."""

    time: str
    what: str
    by: str | None
    detail: str


class Explanation(Struct, frozen=True):
    """Why a job is in its state: `chain` has what happened to it, in order."""

    id: str
    summary: str
    chain: list[ChainLink]


class Principal(Struct, frozen=True):
    """An authenticated caller.

    `issuer` is the authority that issued the credentials, if the provider has several, as for JWTs. `expires_at`
    (seconds since 1970) is when the credentials expire; connections that were opened with them are then closed.
    `subject` distinguishes it from principals that had the same name before.
    """

    name: str
    provider: str
    roles: list[str] = []
    issuer: str = ""
    expires_at: float | None = None
    subject: str = ""

    @property
    def id(self) -> str:
        """The owner of the jobs that this principal creates: it is the same for no two principals."""
        return f"{self.known_as}#{self.subject}" if self.subject else self.known_as

    @property
    def known_as(self) -> str:
        """Issuer or provider, and name: how the configuration names the principal.

        In names of an issuer ":" is written "%3A", or `https://idp` with the name `8443:bob` and `https://idp:8443`
        with the name `bob` would be the same.
        """
        if self.issuer:
            return f"{self.issuer}:{self.name.replace('%', '%25').replace(':', '%3A')}"
        return f"{self.provider}:{self.name}"


class LogGap(Struct, frozen=True):
    """The params of `log.gap`: bytes that the log does not have, with the reason; it continues at `to`."""

    subscription: str
    job: str
    from_: int = msgspec.field(name="from")
    to: int
    reason: str


class EventGap(Struct, frozen=True):
    """The params of `event.gap`: events after revision `from` and up to `to` are no longer kept."""

    subscription: str
    from_: int = msgspec.field(name="from")
    to: int


class LogEnd(Struct, frozen=True):
    """The params of `log.end`, the last notification of a subscription; `truncated`: some output was never kept."""

    subscription: str
    job: str
    offset: int
    state: State
    exit: Exit | None
    truncated: bool = False


def to_builtins(value: Any) -> Any:
    """Return a value as JSON has it: dicts, lists, strings, numbers."""
    return msgspec.to_builtins(value)
