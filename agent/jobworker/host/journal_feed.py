"""Pass new entries of the journal on to the agent; if asked to, only those that survive a power cut.

The agent syncs the journal, not the keeper: a slow disk then delays the entries, but no launch, signal or status.
"""

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobworker.host.journal import Closed, Journal, JournalEntry
from jobworker.host.sync import sync_log

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0  # until a sync that failed is tried again
CANNOT_SYNC = (errno.EROFS, errno.EINVAL)  # nothing is written here, or nothing can be synced
Apply = Callable[[list[JournalEntry], str, int], None]


class JournalFeed:
    """`apply` gets entries, the boot id under which they were written and the position behind them.

    With `durable` the journal is synced before it is read, and the log of a job before its `closed` is applied: in a
    thread, once for all calls of `read` that came meanwhile. Otherwise `read` does everything at once.
    """

    def __init__(self, journal: Journal, logs: Path, apply: Apply, *, durable: bool) -> None:
        self._journal = journal
        self._logs = logs
        self._apply = apply
        self._durable = durable
        self._thread = ThreadPoolExecutor(1, "journal")
        self._closing = threading.Event()
        self._waiting: list[Callable[[], None]] = []  # the `then` of calls of `read`, for the next round
        self._task: asyncio.Task[None] | None = None  # runs rounds while there are any

    def read(self, size: int | None, then: Callable[[], None] = lambda: None) -> None:
        """Apply the journal up to byte `size` at least (None: all of it), then call `then`, in the order of calls."""
        if not self._durable:
            # What the keeper has reported is read in one call as a rule, without another that finds nothing.
            while size is None or self._journal.position < size:
                if not (records := self._journal.read()):
                    break
                self._apply(records, self._journal.boot, self._journal.position)
            then()
        elif self._task is None and size is not None and size <= self._journal.position:
            then()
        else:
            self._waiting.append(then)
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._run())

    async def read_all(self) -> None:
        """Return when all entries that are in the journal now are applied."""
        done = asyncio.Event()
        self.read(None, done.set)
        await done.wait()

    async def _run(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            batches = await asyncio.get_running_loop().run_in_executor(self._thread, self._read_synced)
            for records, boot, position in batches:
                self._guarded(lambda r=records, b=boot, p=position: self._apply(r, b, p))  # type: ignore[misc]
            for then in waiting:
                self._guarded(then)
        self._task = None

    def _guarded(self, call: Callable[[], None]) -> None:
        """Call, and log an exception: one fault must not hold back all later entries."""
        try:
            call()
        except Exception:
            log.exception("an entry of the journal could not be applied")

    def _read_synced(self) -> list[tuple[list[JournalEntry], str, int]]:
        """Sync the journal and read the entries before that point. In the thread, alone with the cursor."""
        end = self._sync_journal()
        batches = []
        while records := self._journal.read(end):
            batches.append((records, self._journal.boot, self._journal.position))
        for job in {record.id for records, _, _ in batches for record in records if isinstance(record, Closed)}:
            try:
                sync_log(self._logs / job)
            except OSError as error:
                log.error("job %s: its log may not survive a power cut: it cannot be synced: %s", job, error)
        return batches

    def _sync_journal(self) -> int:
        """Sync the journal and return its size before that. While the sync fails, no entries are passed on."""
        failed = False
        while True:
            end = os.fstat(self._journal.fileno()).st_size
            try:
                os.fdatasync(self._journal.fileno())
                return end
            except OSError as error:
                if error.errno in CANNOT_SYNC:
                    return end
                if not failed:
                    log.error("the journal cannot be synced, trying every %g s: %s", RETRY_SECONDS, error)
                failed = True
                if self._closing.wait(RETRY_SECONDS):
                    return self._journal.position  # the next agent reads the rest

    def close(self) -> None:
        self._closing.set()
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
