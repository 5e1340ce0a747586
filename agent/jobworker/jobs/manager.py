"""The operations on jobs that callers have: create, start, stop, signal, pause, wait, read, delete."""

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jobworker.config import Config
from jobworker.errors import (
    InvalidState,
    JobNotFound,
    WaitTimeout,
)
from jobworker.host.keeper_link import KeeperLink
from jobworker.jobs import explain
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.caps import RoleCaps
from jobworker.jobs.draining import Drain
from jobworker.jobs.identity import own
from jobworker.jobs.input_waits import InputWaits
from jobworker.jobs.inputs import Inputs
from jobworker.jobs.log_blocked import unread, why_blocked
from jobworker.jobs.log_scans import LogScans
from jobworker.jobs.log_sync import LogSync
from jobworker.jobs.log_watch import LogWatch
from jobworker.jobs.logs import Logs
from jobworker.jobs.neighbours import neighbours
from jobworker.jobs.observers import Observers
from jobworker.jobs.plan import Defaults
from jobworker.jobs.quotas import Quotas
from jobworker.jobs.reconciler import Reconciler
from jobworker.jobs.record import JobRecord
from jobworker.jobs.remote.jobs import RemoteJobs
from jobworker.jobs.retention import Retention
from jobworker.jobs.scope import Scope, sees
from jobworker.jobs.screens import Screens
from jobworker.jobs.secrets import Secrets
from jobworker.jobs.spec_rules import Specs
from jobworker.jobs.starting import Starting
from jobworker.jobs.stats import JobStats
from jobworker.jobs.stops import StopManager
from jobworker.jobs.table import JobTable
from jobworker.jobs.terminals import Terminals
from jobworker.jobs.time_limits import TimeLimits
from jobworker.jobs.uid_pool import UidPool
from jobworker.jobs.updating import Updating
from jobworker.jobs.users import Users
from jobworker.logs.reader import STDERR, LogReader
from jobworker.logs.tail import last_bytes
from jobworker.measures import Measures
from jobworker.model import Explanation, Job, Principal, State, StopSpec
from jobworker.paths import Home, sync_folder
from jobworker.plugin.host import PluginHost
from jobworker.plugin.loader import Registry
from jobworker.tasks import Background
from jobworker.tracing import Tracing

STDERR_TAIL_BYTES = 4096  # that an explanation reads


class JobManager:
    """All jobs of one agent: connects the parts of this folder and offers their operations."""

    def __init__(
        self,
        config: Config,
        home: Home,
        run: Path,
        registry: Registry,
        host: PluginHost,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing
        self._config = config
        self._home = home
        durable = config.agent.durability == "power"
        self.measures = Measures()
        self._table = JobTable(home, config.events.keep, durable=durable)
        self._tasks = Background()
        self.link = KeeperLink(home, run)
        self._table.neighbours = partial(neighbours, self._table, self.link)
        defaults = Defaults.of(config.jobs)
        self._specs = Specs(defaults, registry, host, lambda: self.link.hello)
        pool = UidPool(home.uids, config.uid_pool) if config.uid_pool and os.geteuid() == 0 else None
        self._users = Users(config, defaults, lambda: self.link.hello, pool)
        self._secrets = Secrets(run, registry.secret_providers, host, lambda: self.link.hello)
        inputs = self.inputs = Inputs(home, self._table)
        self._stops = StopManager(
            config.jobs, self._specs, self.link, host, self._table, inputs, self._tasks, self.measures
        )
        self._time_limits = TimeLimits(config.jobs, self._specs, host, self._table, inputs, self._stops, self._tasks)
        self.waits = InputWaits(home, self._table, self.link)
        inputs.on_written = self.waits.written
        self._specs.hidden_waits = self.waits.hidden
        self._reconciler = Reconciler(
            home,
            run,
            self._specs,
            self._secrets,
            self._table,
            self.link,
            self._stops,
            self._time_limits,
            self.waits,
            self._tasks,
            durable=durable,
        )
        self._log_sync = LogSync(self._table) if durable else None
        caps, quotas = RoleCaps(config.limits.roles), Quotas(config.limits, self._table, self._keeper_room)
        self._caps = caps
        self.drain = Drain(self._table)
        self._remote = RemoteJobs(registry.executors, host, self._specs, self._table, self._tasks)
        self._remote.applied = self._reconciler.applied
        self._starting = Starting(
            self._specs,
            self._users,
            self._secrets,
            self._table,
            self.link,
            caps,
            quotas,
            self._remote,
            self.drain,
            self.measures.starts,
            tracing,
        )
        updating = Updating(self._specs, self._time_limits, self._table, self.link, caps, quotas)
        self.stats = JobStats(self._table, self.link, self._secrets)
        self._terminals = Terminals(self.link)
        self._watch = LogWatch(home.logs)
        self.logs = Logs(self._table, self._watch)
        self.log_scans = LogScans(self._table)
        self.screens = Screens(self._table)
        self.retention = Retention(config.retention, self._table, home.logs)
        self._table.on_inactive += (self._secrets.inactive, self._count_end)
        self.observers = Observers(registry.observers, host, self._table, self._tasks)

        # Operations of the parts, as they are; those below need several parts.
        self.create = self._starting.create
        self.start = self._starting.start
        self.withdraw = self._starting.withdraw
        self.check_room = self._starting.check_room
        self.refuse = self._starting.refuse
        self.update = updating.update
        self.stop_all = self._stops.stop_all
        self.kill_all = self._stops.kill_all
        self.seen = self._table.seen
        self.seen_in_memory = self._table.seen_in_memory
        self.list = self._table.page
        self.events = self._table.events

    @property
    def keepers_lost(self) -> int:
        """How many keepers have ended and were replaced."""
        return self._reconciler.keepers_lost

    @property
    def writable(self) -> bool:
        """Whether the last change of the job table could be written."""
        return self._table.writable

    def states(self) -> list[State]:
        """Return the states of the jobs that are in memory: those that run are."""
        return [active.record.job.state for active in self._table]

    def _count_end(self, record: JobRecord) -> None:
        """Count a job that has ended, for the metrics."""
        exit_, log = record.job.exit, record.job.log
        self.measures.ended[str(exit_.reason) if exit_ is not None else "unknown"] += 1
        self.measures.logged += log.bytes
        self.measures.dropped += log.first_offset
        self.measures.truncated += log.truncated
        if self._tracing is not None:
            self._tracing.job_ended(record.job, record.process.trace)

    def retained(self) -> tuple[int, int]:
        """Return how many ended jobs are kept, and the bytes of their logs."""
        return self.retention.kept

    def _keeper_room(self) -> int:
        return int(self.link.hello.get("room", 0))  # an older keeper has none

    async def open(self) -> None:
        """Connect to the keeper and take over the running jobs."""
        if self._log_sync is not None:
            await asyncio.to_thread(sync_folder, self._home.path)  # the folder has the names of table and journal
        copied = bool(self._home.copied_from)
        self._remote.attach()
        await self._reconciler.open()
        self._remote.open(copied=copied)
        self.inputs.remove_leftovers()
        await self._remove_old_secrets()
        self.inputs.end_claims()
        self.waits.end_all()
        self._tasks.spawn(self.waits.run())
        await asyncio.to_thread(own)  # a directory service may be slow
        self._tasks.spawn(self.retention.run())
        if self._log_sync is not None:
            self._tasks.spawn(self._log_sync.run())
        self.observers.open()

    async def _remove_old_secrets(self) -> None:
        """Remove the secrets of jobs that have ended, or were deleted, while no agent was running."""
        for job in self._secrets.kept():
            try:
                record = await self._table.load(job)
            except JobNotFound:
                self._secrets.drop(job)
                continue
            if record.job.state != State.CREATED and not record.active:
                self._secrets.drop(job)

    # Stop, signal, pause

    async def stop(self, job: str, call: StopSpec | None, by: Principal, *, admin: bool) -> Job:
        """Stop the whole tree and return the job; raise StopIncomplete with the survivors.

        Raises PermissionDenied for options if the caller may not run jobs as the job's user: they may be a command.
        """
        active = await self._begun(job)
        if call is not None and call.options:
            self._users.require(active.record.identity, by, admin)
        caps = self._caps.of(by, admin=admin)
        if caps.grace is not None and call is not None and call != StopSpec():
            plan = self._specs.plan_of(active).stop.for_call(call)
            caps.check_stop(await self._specs.longest_stop(plan))
        try:
            await self._stops.stop(active, call, by.name)
        finally:
            await self._table.wait_durable(active)
        return self._table.public(active.record)

    async def signal(self, job: str, number: int, target: str, by: Principal) -> int:
        """Send a signal to the tree or the main process; return how many got it. Raises InvalidState."""
        active = await self._begun(job)
        delivered = await self._stops.signal(active, number, target, by.name)
        await self._table.wait_durable(active)
        return delivered

    async def pause(self, job: str, by: Principal) -> Job:
        """Freeze the whole tree. Only an idle time limit is suspended meanwhile. Raises InvalidState."""
        active = await self._in_state(job, State.RUNNING)
        async with active.pausing:
            await self._stops.pausing.pause(active, by.name)
        self._time_limits.watch(active)
        return self._table.public(active.record)

    async def resume(self, job: str, by: Principal) -> Job:
        """Resume a paused job. Raises InvalidState."""
        active = await self._in_state(job, State.PAUSED)
        async with active.pausing:
            await self._stops.pausing.resume(active, by.name)
        if active.record.job.state == State.RUNNING:
            self._time_limits.watch(active)
        return self._table.public(active.record)

    async def resize_terminal(self, job: str, rows: int, cols: int, lease: int | None) -> None:
        """Change the size of the job's terminal. Raises InvalidState, or NotTheWriter if another client may."""
        await self._terminals.resize(await self._begun(job), rows, cols, lease)

    async def _begun(self, job: str) -> ActiveJob:
        """Return a job that was started, when a start that is under way is over; raise InvalidState."""
        active = self._table.active(job)
        if active is None:
            state = (await self._table.load(job)).job.state
            raise InvalidState(f"job {job} is {state}; expected running", state=state)
        while active.starting:
            await active.wait_changed()
        return active

    async def _in_state(self, job: str, state: State) -> ActiveJob:
        active = self._table.active(job)
        actual = active.record.job.state if active is not None else (await self._table.load(job)).job.state
        if active is None or actual != state:
            raise InvalidState(f"job {job} is {actual}; expected {state}", state=actual)
        return active

    # Reading

    async def explain(self, job: str) -> Explanation:
        """Explain why the job is in its state."""
        active = self._table.active(job)
        record = active.record if active else await self._table.load(job)
        reader = LogReader(self._table.log_folder(job))
        stderr = last_bytes(reader, STDERR, STDERR_TAIL_BYTES)
        reader.close()
        by = record.stop.request.by if record.stop.request else None
        events = await self._table.events_of(job)
        blocked = ""
        doubt = active.remote.doubt() if active is not None and active.remote is not None else ""
        if record.running and record.remote is None:
            folder, plan = self._table.log_folder(job), self._specs.plan_of(active) if active else None
            drops = record.job.spec.log.drops
            blocked = why_blocked(folder, self.link.hello.get("pump", 0), drops=drops)
            if not blocked and plan is not None and plan.log.wait and plan.log.max_bytes:
                blocked = unread(folder, plan.log.max_bytes)
        return explain.explain(self._table.public(record), by, record.stop.receipt, events, stderr, blocked, doubt)

    async def wait(self, job: str, limit: float | None) -> Job:
        """Return the job at its end; raise WaitTimeout when `limit` seconds pass first."""
        async with self._table.held(job) as active:
            try:
                async with asyncio.timeout(limit):
                    return await self._table.wait_ended(active)
            except TimeoutError:
                raise WaitTimeout(
                    f"job {job} is still {active.record.job.state} after {limit:g} s", job=job
                ) from None

    def ended(self, job: Job) -> bool:
        """Whether nothing of a job, which was read a moment ago, can change any more."""
        return job.state.final and self._table.active(job.id) is None

    def running(self, scopes: Sequence[Scope]) -> int:
        """Return how many of the jobs within the scopes are running."""
        return sum(active.record.running and sees(scopes, active.record.job) for active in self._table)

    # Deleting and closing

    async def delete(self, job: str, force: bool, by: Principal) -> None:
        """Delete the record and the log of an ended job; with `force`, kill a running one first."""
        async with self._table.held(job) as active:
            if active.starting or active.record.running:
                if not force:
                    state = active.record.job.state
                    text = f"job {job} is {state}, and only a job that has ended can be deleted"
                    raise InvalidState(text, hint="stop it first, or delete it with force", state=state)
                while active.starting:
                    await active.wait_changed()
                if active.record.running:
                    await self._stops.stop(active, StopSpec(strategy="kill"), by.name)
            if active.deleted:
                raise JobNotFound(f"job {job} is being deleted", job=job)
            await self._table.delete(active, by.name)
            self._secrets.drop(job)

    async def close(self, *, restart: bool = False, finish: bool = False) -> None:
        """Close everything. Running jobs go on under the keeper, which ends after the last, or stays for a `restart`.

        `finish`: return when the keeper has ended, which it does when the logs of all jobs are complete.
        """
        for active in self._table:
            if active.stop is not None:
                active.stop.cancel()
        await self._reconciler.close(restart=restart, finish=finish)
        self._tasks.cancel()
        await self._remote.close()
        self._watch.close()
        self.log_scans.close()
        self.inputs.close_watch()
        self.screens.close()
        self._time_limits.close()
        await self._table.close()
