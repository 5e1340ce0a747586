"""Watch the time limits of running jobs: report when one is near, and stop the job when it is reached."""

import asyncio
import logging
from functools import partial

from jobworker.config import Jobs
from jobworker.errors import InvalidSpec, JobworkerError
from jobworker.host.wall_clock import WallClock
from jobworker.jobs import deadlines
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.deadlines import Deadline
from jobworker.jobs.inputs import Inputs
from jobworker.jobs.plan import TOTAL, TimeLimit
from jobworker.jobs.spec_rules import Specs
from jobworker.jobs.stops import StopManager
from jobworker.jobs.table import JobTable
from jobworker.model import Reason
from jobworker.plugin.host import PluginHost
from jobworker.tasks import Background
from jobworker.units import seconds

log = logging.getLogger(__name__)


class TimeLimits:
    """Runs one task for each limit of each running job."""

    def __init__(
        self,
        config: Jobs,
        specs: Specs,
        host: PluginHost,
        table: JobTable,
        inputs: Inputs,
        stops: StopManager,
        tasks: Background,
    ) -> None:
        self._lead = seconds(config.deadline_near, "deadline_near")  # how long before the end `deadline_near` is due
        self._specs = specs
        self._host = host
        self._table = table
        self._inputs = inputs
        self._stops = stops
        self._tasks = tasks
        self._clock = WallClock()  # wakes the tasks when the host's clock is set: policies may name a time of day

    def watch(self, active: ActiveJob) -> None:
        """Watch the job's limits as they are in its spec now."""
        active.drop_limits()
        for limit in self._specs.plan_of(active).time_limits:
            try:
                self._watch_one(active, limit)
            except InvalidSpec as error:  # the plugin was installed when the job was created
                self._failed(active, limit, error.message)

    def _watch_one(self, active: ActiveJob, limit: TimeLimit) -> None:
        policy = self._specs.policy(limit.policy)
        activity = deadlines.ActivityReader(active, self._table.log_folder(active.id))
        near, answer = partial(self._near, active), partial(self._answer, active)
        fire, failed = partial(self._fire, active), partial(self._failed, active, limit)
        watching = deadlines.watch(
            activity, policy, limit, self._host, self._clock, near, answer, fire, failed, self._lead
        )
        active.limits.append(self._tasks.spawn(watching))

    def _failed(self, active: ActiveJob, limit: TimeLimit, why: str) -> None:
        """Report that a limit does not hold; if the job has no total limit, the configured one takes its place."""
        instead = self._specs.fallback(self._specs.plan_of(active))
        then = f"; {instead.options['limit']:g} s in all instead" if instead else ""
        log.error("job %s: timeout policy %s; this limit does not hold%s", active.id, why, then)
        self._table.append_event(active, "limit_failed", f"{why}{then}", limit.policy)
        if instead is not None and not active.fallback:
            active.fallback = True
            self._watch_one(active, instead)

    def _near(self, active: ActiveJob, deadline: Deadline) -> None:
        left = deadline.due - deadlines.boottime()
        self._table.append_event(active, "deadline_near", f"{left:.1f} s left", deadline.limit.policy)

    async def _answer(self, active: ActiveJob, deadline: Deadline, text: str) -> bool:
        """Write to the input of a job; return whether to try again, because a client has claimed it and answers."""
        if active.record.input.lease:
            return True
        # In a task of its own: the end of the job, which may be what it does with the answer, cancels this one.
        await asyncio.shield(self._tasks.spawn(self._write(active, deadline.limit.policy, text)))
        return False

    async def _write(self, active: ActiveJob, policy: str, text: str) -> None:
        waiting = active.record.job.waiting
        try:
            size, _ = await self._inputs.write(active.id, text.encode(), None)
        except JobworkerError as error:
            log.warning("job %s: timeout policy %s cannot answer: %s", active.id, policy, error)
            return
        at = f" at the prompt {waiting.prompt!r}" if waiting is not None and waiting.prompt else ""
        self._table.append_event(active, "answered", f"{size} bytes{at}", policy)

    async def _fire(self, active: ActiveJob, deadline: Deadline) -> None:
        limit, late = deadline.limit, deadlines.boottime() - deadline.due
        message = f"timed out {limit.text or _text(limit)}"
        message += f": {deadline.reason}" if deadline.reason else ""
        early = active.record.process.started / 1e9 - deadline.due
        if early > 1:
            message += f", due {early:.1f} s before the job started"
        elif late > 1:
            message += f", noticed {late:.1f} s late"
        await self._stops.begin(active, None, limit.policy, Reason.TIMEOUT, message)

    def close(self) -> None:
        self._clock.close()


def _text(limit: TimeLimit) -> str:
    """Return how the exit of a job names a limit by its policy and options."""
    if limit.policy == TOTAL:
        return f"after {seconds(limit.options['limit'], 'limit'):g} s"
    return f"by {limit.policy} ({', '.join(f'{name} {value}' for name, value in limit.options.items())})"
