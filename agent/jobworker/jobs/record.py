"""What the agent knows of one job: the public Job, and what it takes to find and end its processes."""

import secrets
import time
from dataclasses import dataclass

import msgspec

from jobworker.model import Job, JobSpec, Reason, Receipt, State, StopSpec

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_last_id = 0


@dataclass(frozen=True)
class Identity:
    """A user of the host, as whom a job runs.

    `gid` is the group it is in, `groups` are those that the user is in anyway. `home` is what the host says, `folder`
    that where it is one, else /.
    """

    name: str
    uid: int
    gid: int
    groups: list[int]
    home: str
    folder: str


class StopRequest(msgspec.Struct, frozen=True):
    """An end that was asked for: it becomes the exit's reason where a signal of ours struck the job alive."""

    reason: Reason
    by: str
    strategy: str
    message: str = ""
    call: StopSpec | None = None  # what the call to stop said of how


class Sent(msgspec.Struct, frozen=True):
    """The last signal that somebody had sent to the job, other than to stop it."""

    signal: str
    by: str


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the job table. `start` is in ticks after boot, `started` in ns on CLOCK_BOOTTIME."""

    job: Job
    key: str | None = None
    asked: JobSpec | None = None  # the spec that it was created with, where it was changed since: its key means that
    identity: Identity | None = None  # as whom it runs; None: as the agent
    launching: bool = False
    boot: str = ""  # under which boot of the host it was launched; of a created job: was about to be
    start: int = 0
    started: int = 0
    group: str = ""
    namespace: bool = False  # it was launched in a pid namespace of its own
    init: int = 0  # pid 1 of that
    init_start: int = 0
    left: bool = False  # the main process is gone, others of its tree are not
    closed: bool = False  # no more output will come
    ending: StopRequest | None = None
    receipt: Receipt | None = None  # of a stop that the main process outlived
    sent: Sent | None = None
    frozen: bool = False  # its cgroup, or its processes one by one, were stopped by job.pause
    resumed: int = 0  # when that was over for the last time, ns on CLOCK_BOOTTIME

    @property
    def active(self) -> bool:
        """Whether anything may still happen to it, so that the agent must keep it in memory."""
        if self.job.state == State.CREATED and self.boot:
            return True
        return self.launching or (self.job.state != State.CREATED and not (self.process_tree_gone and self.closed))

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended, or has left somebody behind."""
        return self.job.state != State.CREATED and not self.process_tree_gone

    @property
    def process_tree_gone(self) -> bool:
        """Whether it has ended and left nobody behind."""
        return self.job.state.final and not self.left


def new_id() -> str:
    """Return a job id: 12 characters that sort by creation and are safe in a path."""
    global _last_id  # noqa: PLW0603  # one clock per process
    _last_id = max(_last_id + 1, time.time_ns() // 1_000_000 << 8 | secrets.randbelow(64))
    number, text = _last_id, ""
    for _ in range(12):
        number, digit = divmod(number, 32)
        text = _ALPHABET[digit] + text
    return text


def is_id(text: str) -> bool:
    return len(text) == 12 and all(char in _ALPHABET for char in text)
