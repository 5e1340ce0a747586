"""Bound the room that the journal takes: forget the entries that no agent can need again.

An agent without a job table rebuilds the records of jobs that run from their entries, so those are kept.
"""

import asyncio
import logging
from collections.abc import Iterable

from jobworker.host.journal import Journal
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.table import JobTable

log = logging.getLogger(__name__)

KEEP_BYTES = 16 << 20  # of the newest entries, besides those of jobs that run; so often it is tried


class Forgetting:
    """Notes where the entries of each running job begin."""

    def __init__(self, journal: Journal, table: JobTable) -> None:
        self._journal = journal
        self._table = table
        # The end of the entries that were applied.
        self._end = journal.position
        # The first byte of the entries of each job whose launch this agent has read, until no process of it is left.
        self._begun: dict[str, int] = {}
        # The end of the applied entries at which it is tried again.
        self._next = self._end + KEEP_BYTES

    def launching(self, job: str) -> None:
        """Note that the entry of a launch is being applied."""
        self._begun[job] = self._end

    def applied(self, active: ActiveJob) -> None:
        """Note that an entry of a job was applied."""
        if not active.record.active:
            self._begun.pop(active.id, None)

    def due(self, position: int) -> bool:
        """Note that all entries up to `position` were applied; return whether `forget` has something to do."""
        self._end = position
        if position < self._next:
            return False
        self._next = position + KEEP_BYTES
        return True

    async def forget(self) -> None:
        """Free the room of what is not needed, once the job table on disk has what follows from it."""
        end = forgettable(self._end, self._begun, self._table)
        if end and await self._table.written():
            try:
                await asyncio.to_thread(self._journal.forget, end)
            except OSError as error:
                log.warning("the journal cannot be shortened: %s", error.strerror or error)


def forgettable(end: int, begun: dict[str, int], jobs: Iterable[ActiveJob]) -> int:
    """Return up to which byte the journal is not needed; 0 if a job runs whose entries are at an unknown place."""
    running = [active.id for active in jobs if active.record.active]
    if any(job not in begun for job in running):
        return 0
    return max(0, min([end - KEEP_BYTES, *(begun[job] for job in running)]))
