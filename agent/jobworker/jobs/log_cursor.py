"""Follow a job's log by a position that moves on: read the files, and wait for the notification that they grew."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobworker.jobs.active import ActiveJob
from jobworker.logs.read_mark import ReadMark
from jobworker.logs.reader import BOTH, CHUNK_BYTES, Chunk, Gap, LogReader
from jobworker.model import Job

MAX_CACHED_CHUNKS = 16  # of one log, for cursors that read it together; at most one for each cursor


@dataclass(frozen=True, slots=True)
class LogRange:
    """What of a log a cursor reads.

    It begins at `offset`, a byte, or `tail` lines before the end, or at the wall-clock time `since` (ns); it ends at
    the time `until` (ns). With `arrivals` each chunk is a single arrival, with its time.
    """

    offset: int = 0
    tail: int | None = None
    since: int | None = None
    until: int | None = None
    streams: Sequence[int] = BOTH
    arrivals: bool = False


@dataclass(frozen=True, slots=True)
class CachedChunk:
    """A chunk, and its encoded forms, by encoding: each is made once for all subscribers."""

    chunk: Chunk
    encoded: dict[str, Any] = field(default_factory=dict)


class SharedLog:
    """The open files of one log, and the chunks that were read last, for all cursors on it."""

    def __init__(self, folder: Path | str) -> None:
        self.reader = LogReader(folder)
        self.cursors = 0  # that are open
        self._cached: dict[tuple[int, Sequence[int], bool], CachedChunk] = {}

    def read(self, offset: int, span: LogRange) -> CachedChunk | Gap | None:
        """Return what is at an offset, from the cache if another cursor has just read it."""
        key = (offset, span.streams, span.arrivals)
        if (cached := self._cached.get(key)) is not None:
            return cached
        result = self.fresh(offset, span)
        if isinstance(result, Chunk):
            cached = CachedChunk(result)
            if self.cursors > 1:
                self._cached[key] = cached
                self._trim()
            return cached
        return result

    def leave(self) -> None:
        """Count a cursor as closed, and trim the cache."""
        self.cursors -= 1
        self._trim()

    def _trim(self) -> None:
        while len(self._cached) > min(self.cursors, MAX_CACHED_CHUNKS):
            del self._cached[next(iter(self._cached))]

    def fresh(self, offset: int, span: LogRange) -> Chunk | Gap | None:
        return self.reader.read(offset, CHUNK_BYTES, span.streams, arrivals=span.arrivals)


class Cursor:
    """Reads one log from an offset on, to `end` (None: the end of the log).

    `active` is None if nothing will be added to the log, `done` is called when the cursor is closed.
    """

    def __init__(
        self,
        shared: SharedLog,
        offset: int,
        span: LogRange,
        active: ActiveJob | None,
        job_at_end: Callable[[], Awaitable[Job]],
        done: Callable[[], None],
        end: int | None,
        mark: ReadMark | None = None,
    ) -> None:
        """`mark`: of a job that waits for its readers."""
        self._mark = mark
        self.offset = offset  # of the next byte to read; the reader sets it
        self.job_at_end = job_at_end  # returns the job at its end, or for a cursor that does not follow as it was
        self._where = span
        self._shared = shared
        self._active = active
        self._done = done
        self._end = end
        self._wakeup = asyncio.Event()
        if active is not None:
            active.waiters.add(self._wakeup)

    @property
    def lag(self) -> int:
        """How many bytes there are after the offset, up to the end."""
        size = self._shared.reader.size()
        return max(0, (size if self._end is None else min(size, self._end)) - self.offset)

    def peek(self) -> CachedChunk | Gap | None:
        """Return the bytes of one stream at the offset, at most 64 KiB, or a gap; None if nothing is there yet."""
        if self._end is not None and self.offset >= self._end:
            return None
        return self._within(self._shared.read(self.offset, self._where))

    def _within(self, next_part: CachedChunk | Gap | None) -> CachedChunk | Gap | None:
        """Cut off what is beyond the end."""
        if next_part is None or self._end is None:
            return next_part
        if isinstance(next_part, Gap):
            return Gap(next_part.offset, min(next_part.end, self._end), next_part.reason)
        chunk = next_part.chunk
        if chunk.end <= self._end:
            return next_part
        left = chunk.data[: max(0, self._end - chunk.offset)]
        return CachedChunk(Chunk(chunk.offset, chunk.stream, chunk.time, left)) if left else None

    @property
    def ended(self) -> bool:
        """Whether nothing will be added. If it is true before a peek that returns None, that was the end."""
        return self._active is None or self._active.record.log.closed

    def _silent(self, ended: bool) -> bool:
        """Whether it is known without a look at the files that the log is empty, as most of short jobs are."""
        if self._active is None:
            return False
        return not self._active.record.job.log.bytes if ended else self._active.silent

    def more_follows(self, chunk: Chunk) -> bool:
        """Whether there are more bytes after the chunk already."""
        return chunk.end < self._shared.reader.size()

    async def next(self) -> CachedChunk | Gap | None:
        """Return the next chunk without moving on; None at the end of the log."""
        while True:
            if self._mark is not None:
                self._mark.note(self, self.offset)
            self._wakeup.clear()
            ended = self.ended
            started = self._active is None or not self._active.is_created()  # no byte before `started` is sent
            silent = self._silent(ended)
            if started and not silent and (next_part := self.peek()) is not None:
                return next_part
            if ended:
                if not silent:
                    self.offset = self._shared.reader.size() if self._end is None else self._end
                return None
            if not silent:
                self.offset = max(self.offset, self._shared.reader.passed(self.offset, self._where.streams))
            await self._wakeup.wait()

    async def grown(self, limit: float) -> Chunk | Gap | None:
        """Wait for the log to grow, at most `limit` seconds, and read again what is at the offset."""
        self._wakeup.clear()
        try:
            async with asyncio.timeout(limit):
                await self._wakeup.wait()
        except TimeoutError:
            pass
        return self._shared.fresh(self.offset, self._where)

    def close(self) -> None:
        if self._active is not None:
            self._active.waiters.discard(self._wakeup)
        self._done()
