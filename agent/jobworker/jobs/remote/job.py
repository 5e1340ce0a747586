"""A job that an executor runs, as the agent holds it in memory: what was seen of it, and commands for its runner."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from jobworker.errors import InvalidState
from jobworker.executors import Sighting
from jobworker.formats import job_folder
from jobworker.host.process_tree import ENGINE, RUNNER, Process
from jobworker.jobs.record import JobRecord
from jobworker.jobs.remote import folder
from jobworker.model import State

ANSWER_SECONDS = 15.0  # for a runner to carry out a command; it looks for one once a second
LOOK_SECONDS = 0.05  # between two looks for the answer, at first
MAX_LOOK_SECONDS = 0.5


class Held(Protocol):
    """What this needs of the job in memory."""

    record: JobRecord

    async def wait_changed(self) -> None:
        """Wait for the next change of the record."""


class RemoteJob:
    """Moments are seconds on CLOCK_MONOTONIC."""

    def __init__(
        self, active: Held, ring: Callable[[], Awaitable[None]], cancel: Callable[[], Awaitable[str]]
    ) -> None:
        """`ring` and `cancel` are the executor's, for this job; `cancel` returns why it failed."""
        self._active = active
        self._ring = ring
        self.cancel = cancel
        self._commanding = asyncio.Lock()  # one command at a time: the next number is that of the files there
        self.lines = 0  # of the journal, that were read
        self.boot = ""  # boot id of the node, from the journal
        self.beat = -1  # the runner's counter, as last seen
        self.beat_at = time.monotonic()  # when that changed
        self.usage: Mapping[str, Any] = {}  # of the heartbeat
        self.logged = 0  # bytes of the log's index
        self.claimed = False  # a runner has begun
        self.node = ""  # as the runner's claim has it
        self.sighting: Sighting | None = None  # what the engine reported last
        self.absent: float | None = None  # since when the engine reports the job as gone, or does not know it
        self.unreachable = ""  # why the engine does not answer; "": it does
        self.withdrawn = False  # the agent has claimed the job: it cannot begin any more
        self.failed = ""  # why its folder could not be read at the last look

    @property
    def _record(self) -> JobRecord:
        return self._active.record

    @property
    def folder(self) -> str:
        return self._record.remote.folder if self._record.remote is not None else ""

    @property
    def tag(self) -> str:
        return self._record.remote.tag if self._record.remote is not None else ""

    @property
    def waits(self) -> bool:
        """Whether no runner of it was seen: it waits for the engine, or is about to begin."""
        return self._record.job.pid is None and not self._record.job.state.final

    async def withdraw(self) -> bool:
        """Have the job never begin, if it has not begun; return whether that is sure. Raises OSError."""
        if not self.waits or self.claimed:
            return False
        self.withdrawn = await asyncio.to_thread(folder.claim, self.folder, self.tag)
        self.claimed = not self.withdrawn
        return self.withdrawn

    async def signal(self, number: int, target: str, *, strike: bool = True) -> int:
        """Send a signal to all processes or to `main`; return how many got it. Raises InvalidState."""
        answer = await self._command({"op": "signal", "signal": number, "target": target, "strike": strike})
        return int(answer.get("delivered") or 0)

    async def freeze(self, *, frozen: bool) -> None:
        """Freeze all processes, or let them go on. Raises InvalidState."""
        await self._command({"op": "freeze" if frozen else "thaw"})

    async def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        """Give the runner a command and return its answer; {} if the job has ended meanwhile."""
        async with self._commanding:
            try:
                number = await asyncio.to_thread(folder.command, self.folder, command, self._record.identity)
            except OSError as error:
                raise self._unanswered(f"{self.folder} cannot be written: {error.strerror or error}") from error
        ringing = asyncio.ensure_future(self._ring())
        try:
            answer = await self._answer(number)
        finally:
            ringing.cancel()
        if (why := answer.get("error")) is not None:
            raise self._unanswered(f"the runner: {str(why)[:200]}")
        return answer

    async def _answer(self, number: int) -> dict[str, Any]:
        pause, end = LOOK_SECONDS, time.monotonic() + ANSWER_SECONDS
        while (answer := await asyncio.to_thread(job_folder.read_answer, self.folder, number)) is None:
            if self._record.process_tree_gone:
                return {}
            if time.monotonic() >= end:
                raise self._unanswered(f"its runner has not answered for {ANSWER_SECONDS:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, MAX_LOOK_SECONDS)
        return answer

    def _unanswered(self, why: str) -> InvalidState:
        job = self._record.job
        where = f" on {job.node}" if job.node else ""
        return InvalidState(f"job {job.id}{where}: {why}", state=job.state)

    def doubt(self) -> str:
        """Return why the agent may not know what the job does; "" if it does."""
        if self.failed:
            return f"its folder cannot be read: {self.failed}"
        if not self.unreachable:
            return ""
        silent = f"; no heartbeat for {time.monotonic() - self.beat_at:.0f} s" if self.claimed else ""
        return f"the engine does not answer: {self.unreachable}{silent}"

    def survivors(self) -> list[dict[str, Any]]:
        """Return what a stop could not end, for its receipt: no more is known of it here."""
        job = self._record.job
        if self._record.process_tree_gone:
            return []
        return [{"pid": job.pid or 0, "name": f"the job on {job.node or 'its node'}", "command": None}]


class RemoteTree:
    """The processes of such a job, which are those of another host."""

    def __init__(self, active: Held, remote: RemoteJob | None) -> None:
        self._active = active
        self._remote = remote
        # What knows whether processes are left: its runner, or, if that is gone as well, the engine.
        self.method = ENGINE if active.record.job.state == State.LOST else RUNNER

    async def members(self) -> list[Process]:
        """Return none: processes of another host cannot be named by a pid here."""
        return []

    async def wait_empty(self) -> None:
        while not self._active.record.process_tree_gone:
            await self._active.wait_changed()

    async def cpu_seconds(self) -> float:
        used = self._remote.usage.get("cpu_seconds") if self._remote is not None else None
        return float(used) if isinstance(used, int | float) else 0.0
