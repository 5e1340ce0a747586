"""Begin, join and resume the stops of jobs: for calls, time limits, leftovers and the shutdown of the agent."""

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine
from typing import Any

from msgspec.structs import replace

from jobworker.config import Jobs
from jobworker.errors import InvalidState, JobworkerError, RpcError, StopIncomplete
from jobworker.host.keeper_link import KeeperLink
from jobworker.host.process_tree import PROOFS, QUEUE, NamespaceTree, wait_exit
from jobworker.interfaces import StopOptions, StopStrategy
from jobworker.jobs import lifecycle
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.inputs import Inputs
from jobworker.jobs.pausing import Pausing
from jobworker.jobs.record import Sent, StopRequest
from jobworker.jobs.remote.job import RemoteJob
from jobworker.jobs.spec_rules import Specs
from jobworker.jobs.stop import KILL, SURVIVOR_SECONDS, StopRun, send_signal
from jobworker.jobs.table import JobTable
from jobworker.measures import Measures
from jobworker.model import Reason, Receipt, Step, StopSpec
from jobworker.plugin.host import PluginHost
from jobworker.signal_names import name_of
from jobworker.tasks import Background
from jobworker.units import seconds

log = logging.getLogger(__name__)


INIT_NAME = "the init of its namespace"  # of a survivor, in a receipt
WITHDRAWN = "queue"  # in place of a strategy, in the receipt of a job that never began
LEFTOVERS_BY = "agent"  # the caller of a stop for what a main process left behind


class StopManager:
    """Begins stops, one at a time for a job, and records their receipts."""

    def __init__(
        self,
        config: Jobs,
        specs: Specs,
        link: KeeperLink,
        host: PluginHost,
        table: JobTable,
        inputs: Inputs,
        tasks: Background,
        measures: Measures,
    ) -> None:
        self._measures = measures
        self._limit = seconds(config.stop_limit, "stop_limit")  # for a strategy beyond the time that it announces
        self._specs = specs
        self._link = link
        self._host = host
        self._table = table
        self._inputs = inputs
        self._tasks = tasks
        self._under_way: dict[str, StopRun] = {}  # by job
        self.pausing = Pausing(table, link)

    async def stop(self, active: ActiveJob, call: StopSpec | None, by: str) -> None:
        """Stop a job and return when its tree is gone; raise InvalidState, or StopIncomplete with the survivors.

        A second stop joins the first; with the strategy `kill` it escalates.
        """
        if active.record.process_tree_gone or not active.record.running:
            state = active.record.job.state
            raise InvalidState(f"job {active.id} is {state}; expected running", state=state)
        before = active.stop
        task = before or await self.begin(active, call, by, Reason.STOPPED)
        if task is None:
            return  # it ended meanwhile
        request = active.record.stop.request  # another stop may have begun meanwhile
        if call is not None and call.strategy == "kill" and (before or (request and request.strategy != "kill")):
            await self._kill(active)
        receipt = await asyncio.shield(task)
        if receipt.survivors:
            pids_text = ", ".join(f"{process['pid']} ({process['name']})" for process in receipt.survivors)
            raise StopIncomplete(
                f"job {active.id}: these processes outlived the stop: {pids_text}", survivors=receipt.survivors
            )

    async def begin(
        self, active: ActiveJob, call: StopSpec | None, by: str, reason: Reason, message: str = ""
    ) -> asyncio.Task[Receipt] | None:
        """Begin a stop in the background and return its task; return a task that runs already, None if it is over."""
        strategy: StopStrategy | None
        plan = self._specs.plan_of(active)
        try:
            strategy, options = await self._specs.stop_options(plan.stop.for_call(call))
        except RpcError as error:
            if reason is Reason.STOPPED and by != LEFTOVERS_BY:
                raise
            # No caller waits for this stop. The plugin was installed when the job was created.
            log.error("job %s: %s; it is stopped by the options of the configuration", active.id, error.message)
            strategy, options = await self._usual_stop(active)
        if active.stop is not None or active.record.process_tree_gone:
            return active.stop
        stop = StopRun(active, plan, self._link, self._host, self.pausing.resume, self._save_steps, self._inputs)
        if not active.record.job.state.final:
            name = strategy.name if strategy is not None else KILL
            request = StopRequest(reason=reason, by=by, strategy=name, message=message, call=call)
            self._table.save(active, lifecycle.stopping(active.record, request), by=by)
        self._under_way[active.id] = stop
        run = stop.run(strategy, options, self._limit)
        if active.remote is not None:
            run = self._withdrawn_or(active, active.remote, stop, run)
        active.stop = asyncio.create_task(self._carry_out(active, run))
        return active.stop

    async def _withdrawn_or(
        self, active: ActiveJob, remote: RemoteJob, stop: StopRun, run: Coroutine[Any, Any, Receipt]
    ) -> Receipt:
        """Take a job that is queued out of its queue; else run the stop."""
        try:
            withdrawn = await remote.withdraw()
        except OSError as error:
            log.warning("job %s: %s: %s", active.id, remote.folder, error)
            withdrawn = False
        if not withdrawn:
            return await run
        run.close()
        why = await remote.cancel()
        stop.note("cancel_failed" if why else "cancel", detail=why or "by the engine: it was queued")
        self._table.save(active, lifecycle.withdrawn(active.record, time.time_ns()))
        return Receipt(WITHDRAWN, QUEUE, PROOFS[QUEUE], active.record.stop.steps)

    def _save_steps(self, active: ActiveJob, steps: list[Step]) -> None:
        """Store the steps of a stop that is under way, for the agent that goes on with it if this one dies."""
        if active.stop is not None:
            self._table.save(active, active.record.with_stop(steps=list(steps)))

    async def _usual_stop(self, active: ActiveJob) -> tuple[StopStrategy | None, StopOptions]:
        """Return the configured strategy and its options; no strategy if its plugin fails: then only kill."""
        try:
            return await self._specs.stop_options(self._specs.defaults.stop)
        except RpcError as error:
            log.error("job %s: %s; it is killed", active.id, error.message)
            return None, StopOptions("SIGKILL", 0.0, {})

    async def _carry_out(self, active: ActiveJob, stop: Coroutine[Any, Any, Receipt]) -> Receipt:
        begun = time.monotonic()
        try:
            await self._table.written()  # first: if this agent dies now, the next one goes on with the stop
            receipt = await stop
            if not receipt.survivors and not await self._release(active):
                survivor = {"pid": active.record.process.init, "name": INIT_NAME, "command": None}
                receipt = replace(receipt, proof="none", survivors=[survivor])
        finally:
            active.stop = None
            del self._under_way[active.id]
        self._measures.stops.add(time.monotonic() - begun)
        self._measures.kills += any(step.action == "kill" for step in receipt.steps)
        by = active.record.stop.request.by if active.record.stop.request is not None else None
        self._table.save(active, lifecycle.stopped(active.record, receipt), by=by)
        if receipt.survivors and active.record.job.state.final:
            self._tasks.spawn(self._until_empty(active))
        return receipt

    async def _until_empty(self, active: ActiveJob) -> None:
        """Wait until the tree is gone and record that, unless a stop does."""
        await active.gone()
        exit_ = active.record.job.exit
        if exit_ is not None and exit_.receipt is not None:
            named = {process["pid"] for process in exit_.receipt.survivors}
            left = [process for process in await active.unattributed() if process.pid in named]
            await asyncio.gather(*(wait_exit(process.pid, process.start) for process in left))
        if active.stop is None and active.record.process.left:
            await self._release(active)
            record = lifecycle.tree_gone(active.record, time.time_ns())
            self._table.save(active, lifecycle.interrupted(record))

    async def _release(self, active: ActiveJob) -> bool:
        """Remove cgroup and namespace of a job without processes; return whether the namespace's init is gone."""
        tree = active.tree()
        if active.record.remote is not None:
            return True  # there is none of either here
        try:
            await self._link.insist("release", id=active.id, init=active.init(), group=active.record.process.group)
            if isinstance(tree, NamespaceTree):
                async with asyncio.timeout(SURVIVOR_SECONDS):
                    await tree.wait_init()
                # Again for the cgroup, which the init was in until now.
                await self._link.insist("release", id=active.id, group=active.record.process.group)
        except TimeoutError:
            log.warning(
                "job %s: the init of its namespace, process %d, does not end", active.id, active.record.process.init
            )
            return False
        except JobworkerError as error:
            log.warning("job %s: its cgroup was not removed: %s", active.id, error)
        return True

    async def signal(self, active: ActiveJob, number: int, target: str, by: str) -> int:
        """Send a signal other than to stop the job; return how many got it. The exit then names the caller."""
        if active.record.job.state.final or active.record.job.pid is None:
            state = active.record.job.state
            raise InvalidState(f"job {active.id} is {state}; expected running", state=state)
        self._table.save(active, active.record.with_stop(sent=Sent(name_of(number), by)))
        _, delivered = await send_signal(active, self._link, number, target, signalled=False)
        return delivered

    def continue_stop(self, active: ActiveJob, request: StopRequest) -> None:
        """Begin again a stop that was under way when the agent before this one ended."""
        self._tasks.spawn(self._begin_again(active, request))

    async def _begin_again(self, active: ActiveJob, request: StopRequest) -> None:
        call = request.call
        if self._specs.plan_of(active).stop.for_call(call).strategy != request.strategy:
            call = replace(call or StopSpec(), strategy=request.strategy)
        await self.begin(active, call, request.by, request.reason, request.message)

    def end_leftovers(self, active: ActiveJob) -> None:
        """Stop or leave the processes that the main process left behind, by `leftovers` of the spec."""
        self._tasks.spawn(self._leftovers(active))

    async def _leftovers(self, active: ActiveJob) -> None:
        if self._specs.plan_of(active).stop_leftovers and await active.tree().members():
            await self.begin(active, None, LEFTOVERS_BY, Reason.STOPPED)
            return
        await self._until_empty(active)

    async def stop_all(self, by: str) -> None:
        """Stop every job because the agent is shut down; return when the stops are over."""
        begun = (self.begin(active, None, by, Reason.SHUTDOWN) for active in self._table if active.record.running)
        stops = await asyncio.gather(*begun, return_exceptions=True)
        await asyncio.gather(*(stop for stop in stops if isinstance(stop, asyncio.Task)), return_exceptions=True)

    async def kill_all(self) -> None:
        """Kill every job, whatever grace its stop has left."""
        for active in self._table:
            await self._kill(active)

    async def _kill(self, active: ActiveJob) -> None:
        """Kill a job; a stop that is under way waits for no grace any more."""
        stop = self._under_way.get(active.id)
        if stop is not None:
            await stop.signal("SIGKILL", "all")
        else:
            await send_signal(active, self._link, signal.SIGKILL, "all")
