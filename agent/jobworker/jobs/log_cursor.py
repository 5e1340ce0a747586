"""A position in a job's log that moves on: the files say what is there, the kernel says when there is more."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobworker.jobs.active import ActiveJob
from jobworker.logs.reader import BOTH, CHUNK_BYTES, Chunk, Gap, LogReader
from jobworker.model import Job

MAX_CACHED_CHUNKS = 16  # of one log, for cursors that read it together; at most one for each cursor


@dataclass(frozen=True, slots=True)
class LogRange:
    """Where a cursor begins and what of the log it reads.

    `offset` is a byte; in its place may stand `tail`, so many lines from the end, or `since`, a wall-clock
    time (ns); `until` is a time at which it ends. With `arrivals` each chunk is a single one, with its time.
    """

    offset: int = 0
    tail: int | None = None
    since: int | None = None
    until: int | None = None
    streams: Sequence[int] = BOTH
    arrivals: bool = False


@dataclass(frozen=True, slots=True)
class CachedChunk:
    """A chunk, and what it has been made into for one subscriber and may serve the next."""

    chunk: Chunk
    encoded: dict[str, Any] = field(default_factory=dict)


class SharedLog:
    """The open files of one log and the pieces read last, for all cursors on it."""

    def __init__(self, folder: Path) -> None:
        self.reader = LogReader(folder)
        self.cursors = 0
        self._cached: dict[tuple[int, Sequence[int], bool], CachedChunk] = {}

    def read(self, offset: int, span: LogRange) -> CachedChunk | Gap | None:
        """Return what stands at an offset: what another cursor has just read, if it is that."""
        key = (offset, span.streams, span.arrivals)
        if (cached := self._cached.get(key)) is not None:
            return cached
        found = self.fresh(offset, span)
        if isinstance(found, Chunk):
            cached = CachedChunk(found)
            if self.cursors > 1:
                self._cached[key] = cached
                self._trim()
            return cached
        return found

    def leave(self) -> None:
        """Keep nothing for a cursor that is gone."""
        self.cursors -= 1
        self._trim()

    def _trim(self) -> None:
        while len(self._cached) > min(self.cursors, MAX_CACHED_CHUNKS):
            del self._cached[next(iter(self._cached))]

    def fresh(self, offset: int, span: LogRange) -> Chunk | Gap | None:
        return self.reader.read(offset, CHUNK_BYTES, span.streams, arrivals=span.arrivals)


class Cursor:
    """Reads one log; `active` is None for a log to which nothing is added any more.

    `end` is where it stops, None at the end of the log.
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
    ) -> None:
        self.offset = offset
        self.job_at_end = job_at_end  # the job when it is over, or as it was for a cursor that does not follow
        self._where = span
        self._shared = shared
        self._active = active
        self._done = done
        self._end = end
        self._wakeup = asyncio.Event()
        if active is not None:
            active.waiters.add(self._wakeup)

    def peek(self) -> CachedChunk | Gap | None:
        """Return what stands at the offset, of one stream and at most 64 KiB; None where nothing does yet."""
        if self._end is not None and self.offset >= self._end:
            return None
        return self._within(self._shared.read(self.offset, self._where))

    def _within(self, found: CachedChunk | Gap | None) -> CachedChunk | Gap | None:
        """Leave out what stands beyond the end."""
        if found is None or self._end is None:
            return found
        if isinstance(found, Gap):
            return Gap(found.offset, min(found.end, self._end), found.reason)
        chunk = found.chunk
        if chunk.end <= self._end:
            return found
        left = chunk.data[: max(0, self._end - chunk.offset)]
        return CachedChunk(Chunk(chunk.offset, chunk.stream, chunk.time, left)) if left else None

    @property
    def ended(self) -> bool:
        """Whether nothing will be added: asked before a peek that finds nothing, that was the end."""
        return self._active is None or self._active.record.closed

    def more_follows(self, chunk: Chunk) -> bool:
        """Whether other bytes stand behind the chunk already."""
        return chunk.end < self._shared.reader.size()

    async def next(self) -> CachedChunk | Gap | None:
        """Return the next chunk without moving on; None at the end of the log."""
        while True:
            self._wakeup.clear()
            ended = self.ended
            started = self._active is None or not self._active.is_created()  # no byte before the news of the start
            if started and (found := self.peek()) is not None:
                return found
            if ended:
                self.offset = self._shared.reader.size() if self._end is None else self._end
                return None
            self.offset = max(self.offset, self._shared.reader.passed(self.offset, self._where.streams))
            await self._wakeup.wait()

    async def grown(self, limit: float) -> Chunk | Gap | None:
        """Wait for news, at most `limit` seconds, and read again what stands at the offset."""
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
