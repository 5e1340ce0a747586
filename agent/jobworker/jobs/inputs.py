"""Accept input for jobs: append it to the spool, wait while the job does not read, and end it.

The spool is all the state there is: how much was accepted is the size of its files, so it is exact after any death.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from jobworker.errors import InputGap, InvalidState, StdinClosed
from jobworker.host.inotify import Inotify
from jobworker.host.spool import Spool, open_spool
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.claims import Claims, require_writer
from jobworker.jobs.table import JobTable
from jobworker.linux.inotify import IN_ATTRIB, IN_DELETE, IN_MODIFY
from jobworker.model import Principal
from jobworker.paths import Home

T = TypeVar("T")

POLL_SECONDS = 0.1  # between two looks at a full spool, if the kernel refuses to watch it
COUNT_SECONDS = 5.0  # for the journal to have the end of an input; a keeper that dies in between does not write it
REASONS = {
    "closed": "its input was closed",
    "broken": "the job has closed its stdin",
    "lost": "keeper and pump died together, and how much of it the job was given is not known",
    "failed": "its spool could not be read",
}


class Inputs:
    """The input of all jobs that have one. Calls for the same job take effect in the order of their arrival."""

    def __init__(self, home: Home, table: JobTable) -> None:
        self._home = str(home.path)
        self._folder = home.input
        self._table = table
        self._claims = Claims(table)
        self.release, self.end_claims = self._claims.release, self._claims.end_all
        self._turns: dict[
            str, tuple[asyncio.Lock, int]
        ] = {}  # by job: held by one call, and how many calls there are
        self.on_written: Callable[[ActiveJob], None] = lambda active: None  # called when an input has moved
        self._inotify: Inotify | None = None  # opened when the first call has to wait
        self._watch: int | None = None  # of the folder of all spools, while calls wait
        self._waiting: dict[str, asyncio.Event] = {}  # by job: the call that waits for room in its spool

    async def write(
        self, job: str, data: bytes | memoryview, offset: int | None, lease: int | None = None
    ) -> tuple[int, int]:
        """Accept all of the data; return how many bytes of it are in the input now, and the end of the input.

        `offset` is where the data begins: what was accepted before is not written again. Waits while the job does not
        read. Raises InputGap, StdinClosed, InvalidState, NotTheWriter and DiskFull.
        """
        async with self._turn(job) as active:
            require_writer(active, lease)
            with open_spool(self._home, job) as spool:
                if spool is None:
                    await _count_known(active)
                    return self._after_end(active, data, offset)
                end, closed = spool.accepted()
                begin = end if offset is None else offset
                if begin > end:
                    raise InputGap(f"offset: {offset}; expected at most {end}, the end of the input", offset=end)
                view = memoryview(data)[end - begin :]
                if closed and (view or offset is None):
                    raise _closed(active, "closed")
                while view:
                    written = await _to_its_end(asyncio.to_thread(spool.append, view, end))
                    if not written:
                        await self._wait_for_room(active, spool, end, lease or 0)
                    require_writer(active, lease)  # another one may have taken its place meanwhile
                    if spool.removed():  # the keeper may have counted before this, or after it
                        await _count_known(active)
                        return self._after_end(active, data, begin)
                    self.on_written(active)
                    view, end = view[written:], end + written
                return len(data), end

    async def close(self, job: str, offset: int | None, lease: int | None = None) -> int | None:
        """End the input after what was accepted, which must be `offset` bytes; return how many, None: unknown.

        An input that has ended stays so. Raises InputGap, InvalidState and NotTheWriter.
        """
        async with self._turn(job) as active:
            require_writer(active, lease)
            with open_spool(self._home, job) as spool:
                if spool is None:
                    await _count_known(active)
                    return active.record.input.accepted
                end, _ = spool.accepted()
                if offset is not None and offset != end:
                    raise InputGap(f"offset: {offset}; expected {end}, the end of the input", offset=end)
                spool.close_input()
                self.on_written(active)
                return end

    def _after_end(self, active: ActiveJob, data: bytes | memoryview, offset: int | None) -> tuple[int, int]:
        """Answer a write whose input has ended; raise StdinClosed unless all of it was accepted before."""
        end = active.record.input.accepted
        if end is None or offset is None or offset + len(data) > end:
            raise _closed(active)
        return len(data), end

    async def claim(self, job: str, by: Principal, *, steal: bool) -> tuple[int, int]:
        """Make the caller the one writer; return its lease and the end of the input. Raises NotTheWriter.

        Does not wait for a write that waits for the job to read: that one ends, if it is by another writer.
        """
        async with self._table.held(job) as active:
            await _require_input(active)
            with open_spool(self._home, job) as spool:
                if spool is None:
                    raise _closed(active)
                lease = self._claims.claim(active, by, steal=steal)
                if (waiting := self._waiting.get(job)) is not None:
                    waiting.set()
            await self._table.written()
        async with self._turn(job):  # what was being written before the claim is in the input now, or refused
            with open_spool(self._home, job) as spool:
                return lease, 0 if spool is None else spool.accepted()[0]

    @contextlib.asynccontextmanager
    async def _turn(self, job: str) -> AsyncIterator[ActiveJob]:
        """Wait until no other call works on the input of the job; raise InvalidState if it can have none."""
        async with self._table.held(job) as active:
            lock, calls = self._turns.get(job, (asyncio.Lock(), 0))
            self._turns[job] = lock, calls + 1
            try:
                async with lock:
                    await _require_input(active)
                    yield active
            finally:
                lock, calls = self._turns.pop(job)
                if calls > 1:
                    self._turns[job] = lock, calls - 1

    async def _wait_for_room(self, active: ActiveJob, spool: Spool, end: int, lease: int) -> None:
        """Return when the spool takes more, or is gone, or the writer has no longer this lease."""
        job = active.id
        changed = self._waiting[job] = asyncio.Event()
        try:
            watched = self._watch_folder()
            while not spool.has_room(end) and not spool.removed() and lease == active.record.input.lease:
                changed.clear()
                if watched:
                    await changed.wait()
                else:
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            del self._waiting[job]
            if not self._waiting and self._watch is not None and self._inotify is not None:
                self._inotify.unwatch(self._watch)
                self._watch = None

    def _watch_folder(self) -> bool:
        try:
            self._inotify = self._inotify or Inotify()
            if self._watch is None:
                self._watch = self._inotify.watch(self._folder, self._changed, IN_MODIFY | IN_ATTRIB | IN_DELETE)
        except OSError:
            return False
        return True

    def _changed(self, name: str) -> None:
        job = name.partition(".")[0]
        for waiting in [self._waiting.get(job)] if job else list(self._waiting.values()):
            if waiting is not None:
                waiting.set()

    def remove_leftovers(self) -> None:
        """Remove the spools of jobs that do not run any more, as after a restart of the host."""
        with contextlib.suppress(OSError):  # the state folder may be read-only
            for path in self._folder.iterdir():
                active = self._table.active(path.name.partition(".")[0])
                if active is None or active.record.job.state.final:
                    path.unlink(missing_ok=True)

    def close_watch(self) -> None:
        if self._inotify is not None:
            self._inotify.close()


async def _require_input(active: ActiveJob) -> None:
    """Raise InvalidState unless the job was started with an input."""
    if not active.record.job.spec.has_input():
        hint = 'create it with stdin: "pipe"'
        state = active.record.job.state
        raise InvalidState(f"job {active.id} has no input: its stdin is /dev/null", hint=hint, state=state)
    while active.starting:
        await active.wait_changed()
    if active.is_created():
        state = active.record.job.state
        raise InvalidState(f"job {active.id} is {state}; expected running", hint="start it first", state=state)


async def _count_known(active: ActiveJob) -> None:
    """Return when the journal has how much of an input was accepted that has just ended, as far as it will."""
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            while not (active.record.input.ended or active.record.job.state.final):
                await active.wait_changed()
    except TimeoutError:
        pass


def _closed(active: ActiveJob, how: str = "") -> StdinClosed:
    state = active.record.job.state
    why = REASONS.get(how or active.record.input.ended, "it has ended or closed its stdin")
    text = f"job {active.id} is {state}" if state.final else f"job {active.id} takes no more input: {why}"
    return StdinClosed(text, state=state)


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for work that must not go on behind its caller's back, also if the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
