"""End a job's tree by a stop strategy, and, whatever that does or fails to do, within a limit of our own."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from jobworker.errors import JobworkerError
from jobworker.interfaces import StopOptions, StopStrategy
from jobworker.jobs.live import LiveJob
from jobworker.jobs.specs import signal_number
from jobworker.model import Job, Receipt, Step, rfc3339
from jobworker.plugins import PluginFault, PluginHost
from jobworker.runtime.link import KeeperLink

log = logging.getLogger(__name__)

LAST_WAIT = 5.0  # seconds after our own SIGKILL until what is left counts as a survivor
T = TypeVar("T")


class Stop:
    """One stop of one job."""

    def __init__(self, live: LiveJob, link: KeeperLink, host: PluginHost) -> None:
        self._live = live
        self._link = link
        self._host = host
        self._steps: list[Step] = []

    async def run(self, strategy: StopStrategy, options: StopOptions, limit: float) -> Receipt:
        """Run the strategy for at most its grace and `limit` seconds; kill what is left; tell what was done."""
        handle = _Handle(self, asyncio.get_running_loop(), self._live.record.job)
        try:
            await self._host.call(strategy.name, lambda: strategy.stop(handle, options), options.grace + limit)
        except (PluginFault, JobworkerError) as error:
            self.note("strategy_failed", str(error))
            log.warning("job %s: stop strategy %s: %s", self._live.id, strategy.name, error)
        handle.over = True
        survivors = await self._make_sure()
        tree = self._live.tree()
        return Receipt(strategy.name, tree.means, "none" if survivors else tree.proof, self._steps, survivors)

    async def _make_sure(self) -> list[dict[str, Any]]:
        tree = self._live.tree()
        if not self._live.record.job.state.final or await tree.members():
            self.note("kill", "the strategy left processes behind")
            try:
                await self.signal("SIGKILL", "all")
            except JobworkerError as error:
                self.note("kill_failed", str(error) or "the keeper is gone")
            await self.wait(LAST_WAIT)
        survivors = await tree.members()
        return [{"pid": process.pid, "name": process.name} for process in survivors]

    def note(self, action: str, signal: str | None = None, at: int = 0, **what: Any) -> None:
        self._steps.append(Step(rfc3339(at or time.time_ns()), action, signal, **what))

    async def signal(self, name: str, target: str) -> int:
        number = signal_number(name, "signal")
        tree = self._live.tree()
        members = await tree.members()
        pids = [[process.pid, process.start] for process in members] if tree.means == "sweep" else []
        at = time.time_ns()
        answer = await self._link.insist("signal", id=self._live.id, signal=int(number), target=target, pids=pids)
        delivered = int(answer["delivered"])
        self.note("signal", number.name, at, target=target, alive=len(members), delivered=delivered)
        return delivered

    async def wait(self, limit: float | None) -> bool:
        try:
            async with asyncio.timeout(limit):
                await self._live.gone()
        except TimeoutError:
            return False
        return True


class _Handle:
    """What the strategy holds, in the plugins' thread: each call is carried over to the agent's loop."""

    def __init__(self, stop: Stop, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        self.job = job
        self.over = False
        self._stop = stop
        self._loop = loop

    async def signal(self, name: str, target: str = "all") -> int:
        return await self._carry(self._stop.signal(name, target))

    async def wait(self, timeout: float | None = None) -> bool:
        return await self._carry(self._stop.wait(timeout))

    async def _carry(self, call: Coroutine[Any, Any, T]) -> T:
        if self.over:
            call.close()
            raise RuntimeError("this stop is over")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))
