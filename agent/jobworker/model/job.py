"""Jobs: their states and ends, what stopped them, what they use."""

from enum import StrEnum
from operator import attrgetter
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from jobworker.model.spec import JobSpec, LimitSpec


class State(StrEnum):
    """The state of a job; `exit` has how it ended."""

    CREATED = "created"
    QUEUED = "queued"
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


class Queued(Struct, frozen=True):
    """A job waits for the engine of its executor, for a `reason` in the engine's words.

    `starts` is when the engine expects to start it; None if it does not know.
    """

    reason: str = ""
    starts: str | None = None


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
    node: str | None = None  # where its executor runs it; None: here, or nowhere yet
    queued: Queued | None = None  # why it waits, in the state `queued`
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
