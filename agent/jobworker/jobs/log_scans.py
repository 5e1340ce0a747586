"""Search logs and read them by lines, in two threads that no other work waits for: a piece of each, in turn."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

from jobworker.errors import OffsetOutOfRange
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.logs import last_output
from jobworker.jobs.table import JobTable
from jobworker.logs.line_index import LineIndex
from jobworker.logs.lines import Lines
from jobworker.logs.places import Dropped
from jobworker.logs.reader import LogReader
from jobworker.logs.search import Query, Search
from jobworker.model import Principal

THREADS = 2
PIECE_SECONDS = 0.05  # that one call has a thread before the next one has it
CALL_SECONDS = 0.5  # that one call uses threads in all: the caller goes on with another one
ANSWER_BYTES = 256 << 10  # of the log in one answer, about
MAX_MARKS = 1 << 20  # in the line indexes of all logs: 8 MiB, which number the lines of 256 GiB
MAX_INDEXES = 1000


class Scan(Protocol):
    """A search, or a read of lines, that is done piece by piece."""

    def run(self, deadline: float, most: int) -> bool: ...


S = TypeVar("S", bound=Scan)


class LogScans:
    """Scans logs for callers: one scan of each principal at a time."""

    def __init__(self, table: JobTable) -> None:
        self._table = table
        self._threads = ThreadPoolExecutor(THREADS, "log-scan")
        # By job: those that were used last are last.
        self._indexes: dict[str, LineIndex] = {}
        # By the id of a principal; each lives as long as a call holds it or waits for it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def search(self, job: str, query: Query, by: Principal) -> Search:
        """Search from an offset, for half a second at most; raise OffsetOutOfRange."""
        async with self._log(job, by, wait=not query.start) as (active, reader, index):
            _check("from", query.start, reader)
            growing = not active.record.log.closed
            search, _ = await self._scan(lambda: Search(reader, index, query, growing=growing), index, reader)
            return search

    async def lines(self, job: str, line: int | None, around: int, count: int, by: Principal) -> tuple[Lines, bool]:
        """Read lines, and return whether all that precede them were counted in half a second.

        Raises OffsetOutOfRange.
        """
        async with self._log(job, by, wait=True) as (_, reader, index):
            _check("around", around, reader)
            return await self._scan(lambda: Lines(reader, index, line, around, count), index, reader)

    def close(self) -> None:
        """Begin no further piece."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextlib.asynccontextmanager
    async def _log(
        self, job: str, by: Principal, *, wait: bool
    ) -> AsyncIterator[tuple[ActiveJob, LogReader, LineIndex]]:
        """Open a log when it is the caller's turn; `wait` for the last output of a job that has just ended."""
        async with self._turns.setdefault(by.id, asyncio.Lock()):
            active = await self._table.acquire(job)
            try:
                if wait:
                    await last_output(active)
                yield active, LogReader(self._table.log_path(job)), self._index(job)
            finally:
                self._table.release(active)

    def _index(self, job: str) -> LineIndex:
        indexes = self._indexes
        found = indexes[job] = indexes.pop(job) if job in indexes else LineIndex()
        while len(indexes) > 1 and (len(indexes) > MAX_INDEXES or sum(i.size for i in indexes.values()) > MAX_MARKS):
            del indexes[next(iter(indexes))]
        return found

    async def _scan(self, make: Callable[[], S], index: LineIndex, reader: LogReader) -> tuple[S, bool]:
        """Scan in pieces until it is done, or its time is up; return whether it is done. Closes the reader."""
        scan: S | None = None
        used = 0.0

        def piece() -> bool:
            nonlocal scan, used
            with index.lock:
                begun = time.monotonic()
                try:
                    scan = make() if scan is None else scan
                    return scan.run(begun + PIECE_SECONDS, ANSWER_BYTES)
                except Dropped:  # while the begin of the log was looked up: look again
                    return False
                finally:
                    used += time.monotonic() - begun

        running: asyncio.Future[bool] | None = None
        try:
            while True:
                running = asyncio.get_running_loop().run_in_executor(self._threads, piece)
                done = await asyncio.shield(running)
                if scan is not None and (done or used >= CALL_SECONDS):
                    return scan, done
        finally:
            if running is None or running.done():
                reader.close()
            else:  # the caller is gone, and the thread still reads
                running.add_done_callback(partial(_close, reader))


def _close(reader: LogReader, piece: asyncio.Future[bool]) -> None:
    reader.close()
    if not piece.cancelled():
        piece.exception()  # no call waits for it any more


def _check(field: str, offset: int, reader: LogReader) -> None:
    end = reader.size()
    if not 0 <= offset <= end:
        reader.close()
        raise OffsetOutOfRange(f"{field}: {offset}; expected 0 to {end}, the end of the log", end=end)
