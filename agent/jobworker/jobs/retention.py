"""Delete jobs that have ended, with their logs: by age, by number and by bytes, the oldest first.

Deletion is paced, in small batches: deleting files by the thousand at once slows everything on the file system.
"""

import asyncio
import logging
import time
from datetime import datetime

from jobworker.config import Retention as Limits
from jobworker.errors import DiskFull
from jobworker.jobs.record import JobRecord
from jobworker.jobs.table import JobTable
from jobworker.units import seconds, size

log = logging.getLogger(__name__)

BATCH_JOBS = 20  # jobs that are deleted at once
PAUSE_SECONDS = 0.1  # between two batches
AGE_CHECK_SECONDS = 3600.0  # between two checks for jobs that are too old
DELETED_BY = "retention"  # as the `deleted` event has it


class Retention:
    """Counts the ended jobs and the bytes of their logs, and deletes those that are too old or too many."""

    def __init__(self, limits: Limits, table: JobTable) -> None:
        # The limits; 0 is none.
        self._age = seconds(limits.age, "retention.age")
        self._jobs = limits.jobs
        self._bytes = size(limits.bytes, "retention.bytes")
        self._table = table
        self._wakeup = asyncio.Event()  # set when a limit may be exceeded
        table.on_inactive = self._inactive
        table.on_deleted = self._deleted
        table.on_release = self._look
        self._count, self._kept = table.ended_totals()

    def _inactive(self, record: JobRecord) -> None:
        self._count += 1
        self._kept += record.job.log.kept
        self._look()

    def _look(self) -> None:
        if self._too_much():
            self._wakeup.set()

    def _too_much(self) -> bool:
        return bool((self._jobs and self._count > self._jobs) or (self._bytes and self._kept > self._bytes))

    async def run(self) -> None:
        """Delete what exceeds the limits, now and whenever more does; until cancelled."""
        while True:
            try:
                await self._forget()
            except DiskFull as error:
                log.warning("no ended job can be deleted now: %s", error.message)
            self._wakeup.clear()
            try:
                async with asyncio.timeout(AGE_CHECK_SECONDS):
                    await self._wakeup.wait()
            except TimeoutError:
                pass

    async def _forget(self) -> None:
        while records := await self._table.oldest_ended(BATCH_JOBS):
            for record in records:
                if not self._too_much() and not (self._age and _age(record) > self._age):
                    return
                if (active := self._table.claim(record)) is not None:  # else a call has begun to read it meanwhile
                    await self._table.delete(active, DELETED_BY)
            await asyncio.sleep(PAUSE_SECONDS)

    def _deleted(self, record: JobRecord) -> None:
        self._count -= 1
        self._kept -= record.job.log.kept


def _age(record: JobRecord) -> float:
    """Return the seconds since a job has ended."""
    ended = record.job.exited_at or record.job.created_at
    return time.time() - datetime.fromisoformat(ended).timestamp()
