"""Begin, join and resume the stops of jobs: for calls, time limits, leftovers and the shutdown of the agent."""

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from msgspec.structs import replace

from jobworker.config import Jobs
from jobworker.errors import InvalidState, JobworkerError, RpcError, StopIncomplete
from jobworker.host.keeper_client import KeeperLink
from jobworker.host.process_tree import NamespaceTree
from jobworker.interfaces import StopOptions, StopStrategy
from jobworker.jobs import lifecycle
from jobworker.jobs.active import LiveJob
from jobworker.jobs.pausing import Pausing
from jobworker.jobs.record import Sent, StopRequest
from jobworker.jobs.spec_rules import Specs
from jobworker.jobs.stop import KILL, LAST_WAIT, Stop, send_signal
from jobworker.jobs.table import JobTable
from jobworker.model import JobSpec, Reason, Receipt, StopSpec
from jobworker.plugin.host import PluginHost
from jobworker.tasks import Background
from jobworker.units import seconds

log = logging.getLogger(__name__)


INIT = "the init of its namespace"
LEFTOVERS = "agent"  # who stops what a main process leaves behind


class StopManager:
    """Begins stops, one at a time for a job, and writes down how they went."""

    def __init__(
        self,
        config: Jobs,
        specs: Specs,
        link: KeeperLink,
        host: PluginHost,
        table: JobTable,
        tasks: Background,
    ) -> None:
        self._limit = seconds(config.stop_limit, "stop_limit")
        self._specs = specs
        self._link = link
        self._host = host
        self._table = table
        self._tasks = tasks
        self.pausing = Pausing(table, link)

    async def stop(self, live: LiveJob, call: StopSpec | None, by: str) -> None:
        """Return when the whole tree is gone; raise InvalidState, or StopIncomplete with the survivors.

        A second stop joins the first; with the strategy `kill` it escalates.
        """
        if live.record.settled or live.record.job.pid is None:
            state = live.record.job.state
            raise InvalidState(f"job {live.id} is {state}; expected running", state=state)
        before = live.stop
        task = before or await self.begin(live, call, by, Reason.STOPPED)
        if task is None:
            return  # it ended while we looked
        request = live.record.ending  # the stop under way may be another's that began while we looked
        if call is not None and call.strategy == "kill" and (before or (request and request.strategy != "kill")):
            await self.kill([live])
        receipt = await asyncio.shield(task)
        if receipt.survivors:
            pids_text = ", ".join(f"{process['pid']} ({process['name']})" for process in receipt.survivors)
            raise StopIncomplete(f"job {live.id}: these outlived the stop: {pids_text}", survivors=receipt.survivors)

    async def begin(
        self, live: LiveJob, call: StopSpec | None, by: str, reason: Reason, message: str = ""
    ) -> asyncio.Task[Receipt] | None:
        """Start a stop in the background, unless one runs or the job is over; return the one that runs."""
        strategy: StopStrategy | None
        try:
            strategy, options = await self._specs.stop_options(live.record.job.spec, call)
        except RpcError as error:
            if reason is Reason.STOPPED and by != LEFTOVERS:
                raise
            # Nobody is there to hear it: a plugin that was there when the job was created.
            log.error("job %s: %s; it is stopped as the configuration says", live.id, error.message)
            strategy, options = await self._usual_stop(live)
        if live.stop is not None or live.record.settled:
            return live.stop
        environment = self._specs.environment(live.record.job.spec, live.record.identity)
        stop = Stop(live, self._link, self._host, environment, live.record.identity)
        if not live.record.job.state.final:
            name = strategy.name if strategy is not None else KILL
            request = StopRequest(reason=reason, by=by, strategy=name, message=message, call=call)
            self._table.save(live, lifecycle.stopping(live.record, request), by=by)
        live.stop = asyncio.create_task(self._carry_out(live, stop.run(strategy, options, self._limit)))
        return live.stop

    async def _usual_stop(self, live: LiveJob) -> tuple[StopStrategy | None, StopOptions]:
        """Return how jobs are stopped by the configuration; no strategy where its plugin fails: then only kill."""
        try:
            return await self._specs.stop_options(JobSpec(), None)
        except RpcError as error:
            log.error("job %s: %s; it is killed", live.id, error.message)
            return None, StopOptions("SIGKILL", 0.0, {})

    async def _carry_out(self, live: LiveJob, stop: Coroutine[Any, Any, Receipt]) -> Receipt:
        try:
            await self._table.written()  # first: an agent that dies now goes on with the stop when it is back
            if live.record.frozen:  # who stands still hears no signal but SIGKILL
                await self.pausing.resume(live)
            receipt = await stop
            if not receipt.survivors and not await self._release(live):
                receipt = replace(
                    receipt, proof="none", survivors=[{"pid": live.record.init, "name": INIT, "command": None}]
                )
        finally:
            live.stop = None
        by = live.record.ending.by if live.record.ending is not None else None
        self._table.save(live, lifecycle.stopped(live.record, receipt), by=by)
        if receipt.survivors and live.record.job.state.final:
            self._tasks.spawn(self._until_empty(live))
        return receipt

    async def _until_empty(self, live: LiveJob) -> None:
        """Wait for the last of a tree, and write down that it is gone, unless another stop does."""
        await live.gone()
        if live.stop is None and live.record.left:
            await self._release(live)
            self._table.save(live, lifecycle.emptied(live.record, time.time_ns()))

    async def _release(self, live: LiveJob) -> bool:
        """Let go of cgroup and namespace of a job that left nobody; return whether the namespace's init is gone."""
        tree = live.tree()
        try:
            await self._link.insist("release", id=live.id, init=live.init(), group=live.record.group)
            if isinstance(tree, NamespaceTree):
                async with asyncio.timeout(LAST_WAIT):
                    await tree.wait_init()
                # The cgroup, which the init was in.
                await self._link.insist("release", id=live.id, group=live.record.group)
        except TimeoutError:
            log.warning("job %s: the init of its namespace, process %d, does not end", live.id, live.record.init)
            return False
        except JobworkerError as error:
            log.warning("job %s: its cgroup was not removed: %s", live.id, error)
        return True

    async def send(self, live: LiveJob, number: signal.Signals, target: str, by: str) -> int:
        """Send a signal that is no stop; return how many processes got it. A job that dies of it says who sent it."""
        if live.record.job.state.final or live.record.job.pid is None:
            state = live.record.job.state
            raise InvalidState(f"job {live.id} is {state}; expected running", state=state)
        self._table.save(live, replace(live.record, sent=Sent(number.name, by)))
        _, delivered = await send_signal(live, self._link, number, target, strike=False)
        return delivered

    def resume(self, live: LiveJob, request: StopRequest) -> None:
        """Take up a stop that was under way when the agent ended."""
        call = replace(request.call or StopSpec(), strategy=request.strategy)
        self._tasks.spawn(self._begin_only(live, call, request.by, request.reason, request.message))

    async def _begin_only(self, live: LiveJob, call: StopSpec | None, by: str, reason: Reason, message: str) -> None:
        await self.begin(live, call, by, reason, message)

    def end_leftovers(self, live: LiveJob) -> None:
        """The main process is gone and others are not, or may not be: stop or leave them, as the spec says."""
        self._tasks.spawn(self._leftovers(live))

    async def _leftovers(self, live: LiveJob) -> None:
        if live.record.job.spec.leftovers == "stop" and await live.tree().members():
            await self.begin(live, None, LEFTOVERS, Reason.STOPPED)
            return
        await self._until_empty(live)

    async def stop_all(self, jobs: Iterable[LiveJob], by: str) -> None:
        """Stop these because the agent is shut down; return when their stops are over."""
        begun = (self.begin(live, None, by, Reason.SHUTDOWN) for live in jobs if live.record.job.pid)
        stops = await asyncio.gather(*begun, return_exceptions=True)
        await asyncio.gather(*(stop for stop in stops if isinstance(stop, asyncio.Task)), return_exceptions=True)

    async def kill(self, jobs: Iterable[LiveJob]) -> None:
        """Send SIGKILL to whole trees, whatever stop is under way."""
        for live in jobs:
            await send_signal(live, self._link, signal.SIGKILL, "all")
