"""Read the logs of all jobs: by cursors that follow, and by single pages."""

import asyncio
import contextlib
from typing import NamedTuple

from jobworker.errors import InvalidState, OffsetOutOfRange
from jobworker.formats.sizes import Size
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.log_cursor import Cursor, LogRange, SharedLog
from jobworker.jobs.log_watch import LogWatch
from jobworker.jobs.table import JobTable
from jobworker.logs.read_mark import ReadMark
from jobworker.logs.reader import Chunk, Gap, LogReader
from jobworker.logs.sizes import recorded_sizes
from jobworker.logs.tail import last_lines
from jobworker.model import Job

MAX_PAGE_ARRIVALS = 4096  # in a page of single arrivals: each may be of one byte, and the loop waits for the page
LAST_OUTPUT_SECONDS = 1.0  # that the last output of an ended job may take from its pipes to its log


class LogPage(NamedTuple):
    """What a log has at an offset: `following` is where the next page begins, `end` the end of the log by now."""

    parts: list[Chunk | Gap]
    following: int
    end: int


class Logs:
    """Opens each log once for all cursors on it."""

    def __init__(self, table: JobTable, watch: LogWatch) -> None:
        self._table = table
        self._watch = watch
        self._marks: dict[str, ReadMark] = {}  # by job: of those that wait for their readers, and are followed
        self._shared: dict[str, SharedLog] = {}  # by job: the logs on which cursors are open

    @property
    def notification(self) -> str:
        """How new output is noticed: `inotify` or `poll`."""
        return self._watch.notification

    async def cursor(self, job: str, span: LogRange, *, follow: bool) -> Cursor:
        """Return a cursor over the job's log; raise OffsetOutOfRange."""
        active = await self._table.acquire(job)
        try:
            offset, end = await self._range(active, span, follow)
        except BaseException:
            self._table.release(active)
            raise
        shared = self._share(job)
        if not follow or active.record.log.closed or end is not None:
            self._table.release(active)
            now = self._table.public(active.record)

            async def as_it_was() -> Job:
                return now

            at_end = (lambda: self._table.wait_ended(active)) if follow and end is None else as_it_was
            last = end if end is not None or follow else shared.reader.size()
            return Cursor(shared, offset, span, None, at_end, lambda: self._unshare(job), last)
        self._watch.follow(active)
        mark = None
        if active.record.job.spec.log.waits:
            mark = self._marks.setdefault(job, ReadMark(self._table.log_path(job)))

        def done() -> None:
            self._watch.unfollow(active)
            self._table.release(active)
            self._unshare(job)
            if mark is not None and mark.forget(cursor):
                self._marks.pop(job, None)

        cursor = Cursor(shared, offset, span, active, lambda: self._table.wait_ended(active), done, None, mark)
        return cursor

    async def page(self, job: str, span: LogRange, limit: int) -> LogPage:
        """Return up to `limit` bytes at an offset; raise OffsetOutOfRange."""
        active = await self._table.acquire(job)
        reader = LogReader(self._table.log_path(job))
        try:
            offset, _ = await self._range(active, span, follow=True)
            parts: list[Chunk | Gap] = []
            arrivals = span.arrivals
            while limit > 0 and (part := reader.read(offset, limit, span.streams, arrivals=arrivals)) is not None:
                parts.append(part)
                offset = part.end
                limit -= len(part.data) if isinstance(part, Chunk) else 0
                if arrivals and len(parts) >= MAX_PAGE_ARRIVALS:
                    limit = 0
            offset = max(offset, reader.passed(offset, span.streams)) if limit > 0 else offset
            if active.record.job.spec.log.waits and job not in self._marks:
                ReadMark(self._table.log_path(job)).note(None, offset)
            return LogPage(parts, offset, reader.size())
        finally:
            reader.close()
            self._table.release(active)

    async def sizes(self, job: str) -> list[Size]:
        """Return the sizes of the job's terminal, from its start on (time 0); raise InvalidState if it has none."""
        async with self._table.held(job) as active:
            if (tty := active.record.job.spec.terminal()) is None:
                state = active.record.job.state
                raise InvalidState(f"job {job} has no terminal", hint="create it with `tty` in its spec", state=state)
            recorded = await asyncio.to_thread(recorded_sizes, self._table.log_path(job))
            return [(0, 0, tty.rows, tty.cols), *recorded]

    async def _range(self, active: ActiveJob, span: LogRange, follow: bool) -> tuple[int, int | None]:
        """Return the offset at which to begin and the one at which to end, None: at the end of the log."""
        anywhere = span.tail is None and span.since is None and span.until is None
        if follow and anywhere and not span.offset:
            return 0, None  # each log has this place: no need to look
        reader = LogReader(self._table.log_path(active.id))
        try:
            size = reader.size()
            if not follow or span.tail is not None or not 0 <= span.offset <= size:
                await last_output(active)
                size = reader.size()
            if not 0 <= span.offset <= size:
                message = f"offset: {span.offset}; expected 0 to {size}, the end of the log"
                raise OffsetOutOfRange(message, end=size)
            if anywhere:
                return span.offset, None
            return await asyncio.to_thread(find_range, reader, span)
        finally:
            reader.close()

    def _share(self, job: str) -> SharedLog:
        if (shared := self._shared.get(job)) is None:
            shared = self._shared[job] = SharedLog(self._table.log_path(job))
        shared.cursors += 1
        return shared

    def _unshare(self, job: str) -> None:
        shared = self._shared[job]
        shared.leave()
        if not shared.cursors:
            shared.reader.close()
            del self._shared[job]


async def last_output(active: ActiveJob) -> None:
    """Wait a moment for the last output of an ended job; but not for a process that it left behind."""
    if active.record.job.state.final:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_OUTPUT_SECONDS):
                while not active.record.log.closed:
                    await active.wait_changed()


def find_range(reader: LogReader, span: LogRange) -> tuple[int, int | None]:
    """Return the offsets for numbers of lines and for times. Blocking.

    A range that may reach into what was dropped begins at 0, so that its reader gets the gap.
    """
    offset = span.offset
    if span.tail is not None:
        offset = last_lines(reader, span.tail, span.streams)
        if span.tail and offset <= reader.passed(reader.first(), span.streams):
            offset = 0
    elif span.since is not None:
        offset = reader.since(span.since)
        if offset <= reader.first():
            offset = 0
    return offset, None if span.until is None else max(offset, reader.until(span.until))
