"""Draining: no job is created or started, and those that run go on, until an admin ends it.

It outlasts the agent: an operator drains, upgrades and restarts, and no job may slip in between.
"""

import asyncio
import logging
import time

from jobworker.errors import DiskFull, Draining
from jobworker.jobs.table import JobTable
from jobworker.units import rfc3339

log = logging.getLogger(__name__)

META = "draining"  # in the job table: since when, "" if not


class Drain:
    """Whether this agent drains."""

    def __init__(self, table: JobTable) -> None:
        self._table = table
        self.since: str = table.meta(META, "")  # RFC 3339; "": it does not drain
        if self.since:
            log.warning("draining since %s: no job is created or started; `jw agent drain --off` ends it", self.since)

    def require_off(self) -> None:
        """Raise Draining if no job may be created or started."""
        if self.since:
            raise Draining(
                f"the agent is draining since {self.since}: no job is created or started",
                hint="use another agent, or try again when an admin has ended it with `jw agent drain --off`",
                since=self.since,
            )

    async def begin(self, by: str) -> None:
        """Refuse jobs from now on; return when those that are being started have started. Raises DiskFull."""
        if not self.since:
            await self._change(rfc3339(time.time_ns()))
            log.warning("%s drains the agent: no job is created or started", by)
        for active in self._table:
            while active.starting:
                await active.wait_changed()

    async def end(self, by: str) -> None:
        """Accept jobs again. Raises DiskFull."""
        if self.since:
            await self._change("")
            log.warning("%s has ended the draining of the agent", by)

    async def _change(self, since: str) -> None:
        before, self.since = self.since, since
        self._table.set_meta(META, since)
        if not await asyncio.shield(asyncio.ensure_future(self._table.written())):
            self.since = before
            self._table.set_meta(META, before)
            raise DiskFull("whether the agent drains cannot be recorded: the job table cannot be written")
