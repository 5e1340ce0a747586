"""A position in a job's log that moves on: the files say what is there, the kernel says when there is more."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from jobworker.jobs.live import LiveJob
from jobworker.model import Job
from jobworker.runtime.inotify import IN_CREATE, Inotify
from jobworker.runtime.logs import CHUNK, Chunk, Gap, LogReader


class LogWatch:
    """Rings a live job whenever its log grows, while anyone follows it.

    A silent job has no folder: until its first byte it is the folder of all logs that is watched.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._inotify = Inotify()
        self._followers: dict[str, tuple[LiveJob, int]] = {}
        self._inotify.watch(logs, self._appeared, IN_CREATE)

    def follow(self, live: LiveJob) -> None:
        _, count = self._followers.get(live.id, (live, 0))
        self._followers[live.id] = live, count + 1
        if not count:
            self._watch(live)  # after it is in the table: a folder made in between is seen here or there

    def _appeared(self, job: str) -> None:
        found = [self._followers.get(job)] if job else list(self._followers.values())
        for live, _ in filter(None, found):
            if live.watch is None and self._watch(live):
                live.ring()  # for what it held already

    def _watch(self, live: LiveJob) -> bool:
        try:
            live.watch = self._inotify.watch(self._logs / live.id, lambda _: live.ring())
        except FileNotFoundError:
            return False
        return True

    def unfollow(self, live: LiveJob) -> None:
        _, count = self._followers.pop(live.id)
        if count > 1:
            self._followers[live.id] = live, count - 1
        elif live.watch is not None:
            self._inotify.unwatch(live.watch)
            live.watch = None

    def close(self) -> None:
        self._inotify.close()


class Cursor:
    """Reads one log from `offset` on; `live` is None for a log to which nothing is added any more."""

    def __init__(
        self,
        reader: LogReader,
        offset: int,
        live: LiveJob | None,
        finished: Callable[[], Awaitable[Job]],
        done: Callable[[], None],
        snapshot: Job | None = None,
    ) -> None:
        self.offset = offset
        self._finished = finished
        self._snapshot = snapshot
        self._reader = reader
        self._live = live
        self._done = done
        self._end = reader.size() if live is None else None
        self._bell = asyncio.Event()
        if live is not None:
            live.bells.add(self._bell)

    def peek(self) -> Chunk | Gap | None:
        """Return what stands at the offset, of one stream and at most 64 KiB; None where nothing does yet."""
        limit = CHUNK if self._end is None else min(CHUNK, self._end - self.offset)
        return self._reader.read(self.offset, limit) if limit > 0 else None

    @property
    def ended(self) -> bool:
        """Whether nothing will be added: asked before a peek that finds nothing, that was the end."""
        return self._live is None or self._live.record.closed

    def more_follows(self, chunk: Chunk) -> bool:
        """Whether other bytes stand behind the chunk already."""
        return chunk.end < self._reader.size()

    async def next(self) -> Chunk | Gap | None:
        """Return the next chunk without moving on; None at the end of the log."""
        while True:
            self._bell.clear()
            ended = self.ended
            started = self._live is None or not self._live.is_created()  # no byte before the news of the start
            if started and (chunk := self.peek()) is not None:
                return chunk
            if ended:
                return None
            await self._bell.wait()

    async def grown(self, limit: float) -> None:
        """Wait for news, at most `limit` seconds."""
        self._bell.clear()
        try:
            async with asyncio.timeout(limit):
                await self._bell.wait()
        except TimeoutError:
            pass

    async def job_at_end(self) -> Job:
        """Return the job when it is over, or as it was for a cursor that does not follow."""
        return self._snapshot or await self._finished()

    def close(self) -> None:
        if self._live is not None:
            self._live.bells.discard(self._bell)
        self._reader.close()
        self._done()
