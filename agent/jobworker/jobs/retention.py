"""Delete jobs that have ended, with their logs: by age, by number and by bytes.

Number and bytes are shared among the owners of jobs: the one that has the most loses its oldest. So an owner with no
more than its equal share keeps everything, however many jobs another has.

Deletion is paced, in small batches: deleting files by the thousand at once slows everything on the file system.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

from jobworker.config import Retention as Config
from jobworker.errors import DiskFull, JobNotFound
from jobworker.jobs.garbage import NO_JOB, Ended, Limits, exceeding, folders, room
from jobworker.jobs.record import JobRecord
from jobworker.jobs.table import JobTable, remove_log

log = logging.getLogger(__name__)

BATCH_JOBS = 20  # jobs that are deleted at once
PAUSE_SECONDS = 0.1  # between two batches
AGE_CHECK_SECONDS = 3600.0  # between two checks for jobs that are too old
DELETED_BY = "retention"  # as the `deleted` event has it


class Retention:
    """Counts the ended jobs and the bytes of their logs, and deletes those that are too old or too many."""

    def __init__(self, limits: Config, table: JobTable, logs: Path) -> None:
        self.limits = Limits.of(limits)
        self._age, self._min_age, self._jobs, self._bytes = self.limits
        self._logs = logs
        self._table = table
        self._wakeup = asyncio.Event()  # set when a limit may be exceeded
        table.on_inactive.append(self._inactive)
        table.on_deleted = self._deleted
        table.on_release = self._look
        # Ended jobs and bytes of their logs, by owner, and the totals.
        self._counts: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()
        for owner, count, kept in table.ended_totals():
            self._counts[owner], self._bytes_of[owner] = count, kept
        self._count, self._kept = self._counts.total(), self._bytes_of.total()
        # Seconds until the oldest job that is too young to be deleted may be.
        self._wait = AGE_CHECK_SECONDS

    @property
    def kept(self) -> tuple[int, int]:
        """The number of ended jobs, and the bytes of their logs."""
        return self._count, self._kept

    def _inactive(self, record: JobRecord) -> None:
        self._add(record, 1)
        self._look()

    def _add(self, record: JobRecord, count: int) -> None:
        owner, kept = record.job.owner, count * record.job.log.kept
        self._count += count
        self._kept += kept
        self._counts[owner] += count
        self._bytes_of[owner] += kept
        if not self._counts[owner]:
            del self._counts[owner], self._bytes_of[owner]

    def _look(self) -> None:
        if self._too_much():
            self._wakeup.set()

    def _too_much(self) -> bool:
        return self._too_many() or self._too_large()

    def _too_many(self) -> bool:
        return bool(self._jobs and self._count > self._jobs)

    def _too_large(self) -> bool:
        return bool(self._bytes and self._kept > self._bytes)

    def _owners(self) -> list[str]:
        """Return the owners, those first that have the most of what is too much; none if nothing is."""
        if not self._too_much():
            return []
        amounts = self._counts if self._too_many() else self._bytes_of
        return [owner for owner, _ in amounts.most_common()]

    async def run(self) -> None:
        """Delete what exceeds the limits, now and whenever more does; until cancelled."""
        while True:
            try:
                await self._forget()
            except DiskFull as error:
                log.warning("no ended job can be deleted now: %s", error.message)
            self._wakeup.clear()
            try:
                async with asyncio.timeout(self._wait):
                    await self._wakeup.wait()
            except TimeoutError:
                pass

    async def garbage(self, limits: Limits) -> tuple[list[tuple[Ended, str]], list[str]]:
        """Return the jobs that these limits delete now, with the reason of each, and logs that belong to no job."""
        there = await asyncio.to_thread(folders, self._logs)  # first: a job has its record before it has a log
        orphans = await self._table.without(there)
        return exceeding(await self._table.all_ended(), limits, time.time()), orphans

    async def amounts(self, found: list[tuple[Ended, str]], orphans: list[str]) -> dict[str, tuple[int, int]]:
        """Return by reason how many jobs or logs there are, and their bytes."""
        counts, sizes = Counter(why for _, why in found), Counter[str]()
        for job, why in found:
            sizes[why] += job.kept
        if orphans:
            counts[NO_JOB], sizes[NO_JOB] = len(orphans), await asyncio.to_thread(room, self._logs, orphans)
        return {why: (counts[why], sizes[why]) for why in counts}

    async def collect(self) -> dict[str, tuple[int, int]]:
        """Delete all garbage now; return what that was, as `amounts` does. Raises DiskFull."""
        found, orphans = await self.garbage(self.limits)
        amounts = await self.amounts(found, orphans)
        for number, (job, _) in enumerate(found):
            if number and not number % BATCH_JOBS:
                await asyncio.sleep(PAUSE_SECONDS)
            with contextlib.suppress(JobNotFound):  # a caller has deleted it meanwhile
                await self._delete_one(await self._table.load(job.id))
        for job_id in orphans:
            await asyncio.to_thread(remove_log, self._logs / job_id, self._table.agent)
        return amounts

    async def _forget(self) -> None:
        self._wait = AGE_CHECK_SECONDS
        while self._age and (old := await self._older_than(self._age, None)):
            for record in old:
                await self._delete_one(record)
            await asyncio.sleep(PAUSE_SECONDS)
        while await self._forget_one_share():
            pass

    async def _forget_one_share(self) -> bool:
        """Delete a batch of the owner with the most, or of the next that has any; return whether there was any."""
        owners = self._owners()
        for owner in owners:
            if records := await self._older_than(self._min_age, owner):
                await self._delete(records, owner if owner == owners[0] else None)
                await asyncio.sleep(PAUSE_SECONDS)
                return True
        return False

    async def _older_than(self, age: float, owner: str | None) -> list[JobRecord]:
        """Return the oldest jobs that ended so many seconds ago, and note when the next one will have."""
        records = await self._table.oldest_ended(BATCH_JOBS, owner)
        old = [record for record in records if _age(record) >= age] if age else records
        if len(old) < len(records):
            self._wait = min(self._wait, max(PAUSE_SECONDS, age - _age(records[len(old)])))
        return old

    async def _delete(self, records: list[JobRecord], first: str | None) -> None:
        """Delete jobs while there are too many, and while their owner, if it was the `first`, has the most."""
        for record in records:
            if not self._too_much() or (first is not None and self._owners()[0] != first):
                return
            await self._delete_one(record)

    async def _delete_one(self, record: JobRecord) -> None:
        if (active := self._table.claim(record)) is not None:  # else a call has begun to read it meanwhile
            await self._table.delete(active, DELETED_BY)

    def _deleted(self, record: JobRecord) -> None:
        self._add(record, -1)


def _age(record: JobRecord) -> float:
    """Return the seconds since a job has ended."""
    ended = record.job.exited_at or record.job.created_at
    return time.time() - datetime.fromisoformat(ended).timestamp()
