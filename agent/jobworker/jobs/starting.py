"""Create jobs and start them: check the spec, store the record, have the keeper launch it, wait for the outcome."""

import asyncio
import time

from jobworker.config import Config
from jobworker.errors import (
    ExecFailed,
    InvalidState,
    JobNotFound,
    KeyConflict,
    RateLimited,
    RpcError,
    ShuttingDown,
)
from jobworker.host.keeper_client import KeeperGone, KeeperLink
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.plan import LaunchPlan
from jobworker.jobs.record import JobRecord, ProcessRecord, new_id
from jobworker.jobs.scope import EVERYTHING
from jobworker.jobs.spec_rules import Specs
from jobworker.jobs.table import JobTable
from jobworker.jobs.users import Users
from jobworker.model import Job, JobSpec, Principal, Reason, State
from jobworker.units import rfc3339


class Starting:
    """The verbs `create` and `start`."""

    def __init__(self, config: Config, specs: Specs, users: Users, table: JobTable, link: KeeperLink) -> None:
        self._config = config
        self._specs = specs
        self._users = users
        self._table = table
        self._link = link
        self._creating = asyncio.Lock()  # held while a key is looked up and its job created
        self._refusing = ""  # why no job may be created or started; "": they may

    async def create(self, spec: JobSpec, key: str | None, owner: Principal, *, admin: bool) -> tuple[Job, bool]:
        """Return the job and whether it is new: the same key with the same spec is the same job.

        `admin`: whether the owner may run it as any user.
        """
        self._require_open()
        plan = await self._specs.check(spec)
        if key is None:
            return (await self._create(plan, None, owner, admin)), True
        async with self._creating:
            existing = await self._table.by_key(owner.id, key)
            if existing is None:
                return (await self._create(plan, key, owner, admin)), True
        if (existing.asked or existing.job.spec) != spec:
            raise KeyConflict(
                f"key: {key[:80]!r} belongs to the job {existing.job.id} with another spec", job=existing.job.id
            )
        return await self._table.seen(existing.job.id, EVERYTHING), False

    async def _create(self, plan: LaunchPlan, key: str | None, owner: Principal, admin: bool) -> Job:
        plan = await self._users.assign(plan, owner, admin)
        spec = plan.spec
        job = Job(
            id=new_id(),
            name=spec.name,
            state=State.CREATED,
            spec=spec,
            owner=owner.id,
            created_at=rfc3339(time.time_ns()),
            labels=spec.labels,
            revision=self._table.next_revision(),
        )
        await self._table.add(JobRecord(job=job, key=key, identity=plan.user, process=ProcessRecord()))
        self._specs.keep(job.id, plan)
        return job

    async def start(self, job: str, by: Principal, *, admin: bool, join: bool = False) -> Job:
        """Start a created job; return when execve has succeeded. Raises ExecFailed, InvalidState, DiskFull.

        Raises PermissionDenied if `by` may not, or no longer, run jobs as the job's user. With `join`, a start by
        another call, under way or done, counts as this one.
        """
        self._require_open()
        active = await self._table.acquire(job)
        try:
            while join and active.starting:
                await active.wait_changed()
            if not (join and not active.is_created()):
                await self._start(active, by, admin)
            return self._started(active)
        finally:
            self._table.release(active)

    async def _start(self, active: ActiveJob, by: Principal, admin: bool) -> None:
        if active.deleted:
            raise JobNotFound(f"job {active.id} is being deleted", job=active.id)
        if active.starting or not active.is_created():
            state = active.record.job.state
            what = "is being started already" if active.starting else f"is {state}"
            raise InvalidState(f"job {active.id} {what}; expected created", state=state)
        self._users.require(active.record.identity, by, admin)
        self.check_room(active.record.job.owner)
        active.starting = True
        try:
            await self._launch(active)
        finally:
            active.starting = False
            active.notify()

    def check_room(self, owner: str) -> None:
        """Raise RateLimited if the owner has as many running jobs as one principal may have."""
        limit = self._config.limits.jobs_per_principal
        if not limit:
            return
        theirs = (active for active in self._table if active.record.job.owner == owner)
        if sum(active.starting or active.record.running for active in theirs) >= limit:
            text = f"{limit} jobs of {owner} run, and limits.jobs_per_principal allows no more at once"
            raise RateLimited(text, hint="try again when one has ended", retry_after=1)

    async def _launch(self, active: ActiveJob) -> None:
        """Have the keeper launch the job, and wait until the journal has the outcome."""
        plan = self._specs.plan_of(active)
        message = plan.message(active.id)
        self._users.require_capabilities(plan)
        try:
            await self._table.announce(active)
            while active.is_created() and not active.record.process.launching:
                try:
                    await self._link.ask("launch", **message)
                except (
                    KeeperGone
                ):  # the launch has not begun, unless the journal has it: try again with the next keeper
                    await self._link.ready()
                    self._users.require_capabilities(plan)
        except RpcError:
            self._table.retract(active)
            raise
        while active.is_created():
            await active.wait_changed()

    def _started(self, active: ActiveJob) -> Job:
        """Return the job, or raise ExecFailed if it could not be started."""
        exit_ = active.record.job.exit
        if exit_ is not None and exit_.reason == Reason.START_FAILED:
            raise ExecFailed(exit_.message, job=active.id, errno=exit_.errno, step=exit_.step)
        return active.record.job  # without a look at its log, which has only begun

    def refuse(self, why: str) -> None:
        """Refuse from now on to create or start jobs."""
        self._refusing = why

    def _require_open(self) -> None:
        if self._refusing:
            raise ShuttingDown(f"{self._refusing}: no job is created or started")
