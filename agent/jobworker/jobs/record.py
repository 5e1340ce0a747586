"""What the agent stores of one job: the public Job, and what is needed to find and stop its processes."""

import secrets
import time
from typing import Any

import msgspec
from msgspec.structs import replace

from jobworker.jobs.identity import Identity
from jobworker.model import Job, JobSpec, Reason, Receipt, State, Step, StopSpec

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_last_id = 0


class StopRequest(msgspec.Struct, frozen=True):
    """Why a job is being stopped: it becomes the reason of the exit if a signal of ours reached the job alive."""

    reason: Reason
    by: str
    strategy: str
    message: str = ""
    call: StopSpec | None = None  # the options of the call


class Sent(msgspec.Struct, frozen=True):
    """The last signal that a caller sent to the job, other than to stop it."""

    signal: str
    by: str


class ProcessRecord(msgspec.Struct, frozen=True):
    """What is needed to find the processes of a job again, whatever dies. A `start` is in ticks after boot."""

    launching: bool = False  # the keeper has written `launching`, and not yet how the launch went
    boot: str = ""  # the boot id under which it was launched; in state `created`: under which a launch was announced
    start: int = 0  # of the main process: tells it from a later one of the same pid
    started: int = 0  # ns on CLOCK_BOOTTIME, which no one can set
    group: str = ""  # path of its cgroup v2; "": it has none
    namespace: bool = False  # it was launched in a pid namespace of its own
    init: int = 0  # the process that is pid 1 of that namespace
    init_start: int = 0
    trace: str = ""  # what the span of the job needs at its end, see `tracing.py`
    left: bool = False  # the main process is gone, other processes of its tree are not


class StopRecord(msgspec.Struct, frozen=True):
    """The last stop, and what else may have ended the job."""

    request: StopRequest | None = None
    receipt: Receipt | None = None  # of a stop that the main process outlived
    sent: Sent | None = None
    steps: list[Step] = []  # of the stop that is under way: an agent that dies within it leaves them to the next


class PauseRecord(msgspec.Struct, frozen=True):
    """Whether the job is frozen."""

    frozen: bool = False  # job.pause has frozen it, or is about to
    resumed: int = 0  # when it was last resumed, ns on CLOCK_BOOTTIME


class LogRecord(msgspec.Struct, frozen=True):
    """What is known about the log beyond its size, which is in the job."""

    closed: bool = False  # the log is complete: no more output will come


class InputRecord(msgspec.Struct, frozen=True):
    """What is known about the input of a job once it has ended."""

    ended: str = ""  # `closed`, `broken`, `lost` or `failed`, see `keeper/input.py`; "": it is open, or there is none
    accepted: int | None = None  # bytes in all; None: it is open, or that is not known
    lease: int = 0  # of the writer; 0: there is none
    quiet: int = 0  # bytes of output when it was found waiting for its input: with more it does no longer


class RemoteRecord(msgspec.Struct, frozen=True):
    """By what the job of an executor is found again."""

    executor: str
    tag: str  # by which the engine knows it
    folder: str  # of the job, which agent and runner share
    engine_id: str = ""  # "": it is not known whether the engine has it
    started: int = 0  # ns on CLOCK_BOOTTIME of its node
    over: bool = False  # nothing will be written to the folder any more


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the job table, in format 2."""

    job: Job
    key: str | None = None
    asked: JobSpec | None = None  # the spec at creation, if it was changed since: the key stands for that spec
    identity: Identity | None = None  # the user it runs as; None: the agent's own
    process: ProcessRecord  # without a default: a record of format 1 has no such field
    stop: StopRecord = StopRecord()
    pause: PauseRecord = PauseRecord()
    log: LogRecord = LogRecord()
    input: InputRecord = InputRecord()
    remote: RemoteRecord | None = None  # of a job that an executor runs

    @property
    def active(self) -> bool:
        """Whether its state may still change, so that the agent must keep it in memory."""
        if self.job.state == State.CREATED:
            return self.process.launching or bool(self.process.boot)
        if self.remote is not None and not self.remote.over:
            return True
        return not (self.process_tree_gone and self.log.closed)

    @property
    def running(self) -> bool:
        """Whether it was started and processes of it may still run."""
        return self.job.state != State.CREATED and not self.process_tree_gone

    @property
    def process_tree_gone(self) -> bool:
        """Whether it has ended and no process of it is left."""
        return self.job.state.final and not self.process.left

    def with_job(self, **changes: Any) -> "JobRecord":
        return replace(self, job=replace(self.job, **changes))

    def with_process(self, **changes: Any) -> "JobRecord":
        return replace(self, process=replace(self.process, **changes))

    def with_stop(self, **changes: Any) -> "JobRecord":
        return replace(self, stop=replace(self.stop, **changes))

    def with_pause(self, **changes: Any) -> "JobRecord":
        return replace(self, pause=replace(self.pause, **changes))

    def with_input(self, **changes: Any) -> "JobRecord":
        return replace(self, input=replace(self.input, **changes))

    def with_remote(self, **changes: Any) -> "JobRecord":
        """Return the record with changes in `remote`; the same if the agent itself runs the job."""
        return self if self.remote is None else replace(self, remote=replace(self.remote, **changes))

    def with_log(self, **changes: Any) -> "JobRecord":
        return replace(self, log=replace(self.log, **changes))


def new_id() -> str:
    """Return a job id: 12 characters that sort by creation and are safe in a path.

    The time in it only spreads ids: what decides the order is the last id, see `continue_ids`.
    """
    global _last_id  # noqa: PLW0603  # one clock per process
    _last_id = max(_last_id + 1, time.time_ns() // 1_000_000 << 8 | secrets.randbits(6))
    number, text = _last_id, ""
    for _ in range(12):
        number, digit = divmod(number, 32)
        text = _ALPHABET[digit] + text
    return text


def continue_ids(last: str) -> None:
    """Have new ids come after this one, whatever the clock is now: it may have been set back since."""
    global _last_id  # noqa: PLW0603  # one clock per process
    number = 0
    for char in last if is_id(last) else "":
        number = number * 32 + _ALPHABET.index(char)
    # Not right after it: a newer job, of which no trace is left, may have had that id.
    _last_id = max(_last_id, number + secrets.randbelow(1 << 16))


def is_id(text: str) -> bool:
    return len(text) == 12 and all(char in _ALPHABET for char in text)
