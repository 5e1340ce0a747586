"""Pause and resume a job's tree: by the freezer of its cgroup, else by signals to all its processes."""

import asyncio
import signal
import time

from jobworker.errors import InvalidState, NotSupported
from jobworker.host.keeper_link import KeeperLink
from jobworker.jobs import lifecycle
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.stop import send_signal
from jobworker.jobs.table import JobTable
from jobworker.linux.proc import is_stopped
from jobworker.model import State

MAX_STOP_ROUNDS = 5  # a tree that grows while it is being stopped is signalled again
FREEZE_TIMEOUT_SECONDS = 5.0  # then the cgroup counts as one that cannot be frozen: a process hangs in the kernel
LOOK_AGAIN_SECONDS = 0.01  # between two looks whether all processes that got SIGSTOP stand still


class Pausing:
    """Records a pause before it begins, so that a crash leaves no job frozen without a record of it."""

    def __init__(self, table: JobTable, link: KeeperLink) -> None:
        self._table = table
        self._link = link

    async def pause(self, active: ActiveJob, by: str) -> None:
        """Return when the whole tree is frozen; raise InvalidState, or NotSupported if it cannot be."""
        _require(active, State.RUNNING)
        self._table.save(active, active.record.with_pause(frozen=True))
        await self._table.written()
        try:
            await self._freeze(active)
        except TimeoutError:
            await self.resume(active)
            limit = f"{FREEZE_TIMEOUT_SECONDS:g} s"
            text = f"job {active.id} cannot be paused: one of its processes was not frozen within {limit}"
            raise NotSupported(text, method="job.pause") from None
        if (
            active.record.job.state != State.RUNNING
        ):  # a stop began meanwhile, and may have resumed the tree before it was frozen
            await self.resume(active)
            _require(active, State.RUNNING)
        self._table.save(active, lifecycle.paused(active.record), by=by)
        await self._table.written()

    async def resume(self, active: ActiveJob, by: str | None = None) -> None:
        """Resume the tree, whatever state the job is in."""
        if active.remote is not None:
            await active.remote.freeze(frozen=False)
        elif active.group() is not None:
            await self._link.insist("freeze", id=active.id, group=active.record.process.group, frozen=False)
        if active.remote is None and (active.group() is None or await active.has_strays()):
            await send_signal(active, self._link, signal.SIGCONT, "all", signalled=False)
        if active.record.pause.frozen:
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            self._table.save(active, lifecycle.resumed(active.record, now), by=by)
            await self._table.written()

    async def _freeze(self, active: ActiveJob) -> None:
        group = active.group()
        if active.remote is not None:
            await active.remote.freeze(frozen=True)
            return
        if group is not None and not await active.has_strays():
            await self._link.insist("freeze", id=active.id, group=active.record.process.group, frozen=True)
            async with asyncio.timeout(FREEZE_TIMEOUT_SECONDS):
                await group.wait_frozen()
            return
        seen: int | None = 0
        for _ in range(MAX_STOP_ROUNDS):  # a process that was forked meanwhile is found in the next round
            alive, _ = await send_signal(active, self._link, signal.SIGSTOP, "all", signalled=False)
            if alive == seen:
                break
            seen = alive
        async with asyncio.timeout(FREEZE_TIMEOUT_SECONDS):
            while not await _all_stopped(active):  # noqa: ASYNC110  # there is no event
                await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _all_stopped(active: ActiveJob) -> bool:
    """Whether the whole tree stands still: a signal takes effect when its process next gets a processor."""
    return all(is_stopped(process.pid) for process in await active.tree().members())


def _require(active: ActiveJob, state: State) -> None:
    actual = active.record.job.state
    if actual != state:
        raise InvalidState(f"job {active.id} is {actual}; expected {state}", state=actual)
