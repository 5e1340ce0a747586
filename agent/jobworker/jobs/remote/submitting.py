"""Submit a job to the engine of an executor: at most once, whatever does not answer."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from jobworker.errors import DiskFull, StartError
from jobworker.executors import ExecutorUnavailable, Need
from jobworker.jobs import lifecycle
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.plan import TOTAL, LaunchPlan, signal_number
from jobworker.jobs.remote import folder
from jobworker.jobs.remote.executor import EngineCalls, quietly
from jobworker.jobs.table import JobTable
from jobworker.model import Queued, State
from jobworker.units import seconds

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0  # until an engine that did not answer is asked again
BACKSTOP_SECONDS = 60.0  # after the agent's own limit and grace, until the engine may end the job


def launch_of(active: ActiveJob, plan: LaunchPlan, tag: str, kill_grace: float) -> dict[str, object]:
    """Return what the runner is to run."""
    stop = {"signal": signal_number(plan.stop.signal, "stop.signal"), "grace": plan.stop.grace}
    leftovers = "stop" if plan.stop_leftovers else "leave"
    message = plan.message(active.id)
    return {
        "tag": tag,
        "id": active.id,
        "message": message,
        "kill_grace": kill_grace,
        "stop": stop,
        "leftovers": leftovers,
    }


def need_of(plan: LaunchPlan) -> Need:
    """Return what a job needs of its engine."""
    totals = [seconds(limit.options["limit"], "limit") for limit in plan.time_limits if limit.policy == TOTAL]
    backstop = min(totals) + plan.stop.grace + BACKSTOP_SECONDS if totals else None
    user = plan.user
    return Need(
        cpus=plan.limits.get("cpus"),
        memory=plan.limits.get("memory"),
        seconds=backstop,
        uid=None if user is None else user.uid,
        gid=None if user is None else user.gid,
        groups=() if user is None else tuple(user.groups),
    )


class Submission:
    """One job on its way to the engine."""

    def __init__(
        self,
        active: ActiveJob,
        plan: LaunchPlan,
        command: list[str],
        calls: EngineCalls,
        table: JobTable,
        applied: Callable[[ActiveJob, State], None],
    ) -> None:
        self._active = active
        self._plan = plan
        self._command = command
        self._calls = calls
        self._table = table
        self._applied = applied
        self.answered = asyncio.Event()  # the first attempt is over

    async def run(self, *, ask_first: bool) -> None:
        """Return when the engine has the job, has refused it, or the job has ended otherwise.

        `ask_first`: it may have been submitted before.
        """
        pause, find = FIRST_PAUSE_SECONDS, ask_first
        while not self._over():
            try:
                engine_id = await self._attempt(find=find)
            except StartError as error:
                await self._refused(error.message)
                return
            except ExecutorUnavailable as error:
                log.warning("job %s: %s; trying again in %g s", self._active.id, error.message, pause)
                self._waits(error.message)
                self.answered.set()
            else:
                await self._accepted(engine_id)
                return
            find = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)

    def _over(self) -> bool:
        remote = self._active.remote
        return self._active.record.job.state.final or (remote is not None and (remote.withdrawn or remote.claimed))

    async def _attempt(self, *, find: bool) -> str:
        """Return the engine's id of the job, of an earlier attempt if there is one."""
        record = self._active.record.remote
        assert record is not None
        if find and (engine_id := (await self._calls.find(record.tag)).get(record.tag)):
            return engine_id
        spec = self._active.record.job.spec.elsewhere()
        options = spec.options if spec is not None else {}
        return await self._calls.submit(record.tag, self._command, record.folder, need_of(self._plan), options)

    async def _accepted(self, engine_id: str) -> None:
        active = self._active
        if active.record.job.state.final:  # it was stopped meanwhile: no runner can begin any more
            if active.record.remote is not None:
                await quietly(self._calls.cancel(active.record.remote.tag, engine_id))
            return
        record = active.record.with_remote(engine_id=engine_id)
        if record.job.queued is not None and record.job.queued.reason:
            record = record.with_job(queued=Queued())
        self._table.save(active, record)

    async def _refused(self, message: str) -> None:
        """Record that the engine does not run the job, unless it does after all."""
        active = self._active
        if active.remote is not None and not await active.remote.withdraw():
            return
        was = active.record.job.state
        if not was.final:
            message = f"{self._calls.name} refuses the job: {message}"
            self._table.save(active, lifecycle.refused(active.record, message, time.time_ns()))
            self._applied(active, was)

    def _waits(self, why: str) -> None:
        """Record that the engine does not answer."""
        active, reason = self._active, f"{self._calls.name} does not answer: {why}"
        before = active.record.job.queued
        if active.record.job.state == State.QUEUED and (before is None or before.reason != reason):
            self._table.save(active, active.record.with_job(queued=Queued(reason)), by="agent", detail=reason)


async def make_folder(place: str, launch: dict[str, object], active: ActiveJob, table: JobTable) -> None:
    """Make the folder of a job and have its log appear here; raise DiskFull."""
    try:
        await asyncio.to_thread(folder.make, place, launch, active.record.identity)
        await asyncio.to_thread(folder.link_log, table.log_folder(active.id), place)
    except OSError as error:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(folder.remove, place)
        text = f"{place}: the folder of the job cannot be made: {error.strerror or error}"
        raise DiskFull(
            text, hint="the executor's folder must be there, with room, and writable for the agent"
        ) from error
