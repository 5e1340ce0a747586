"""Create jobs and start them: check the spec, store the record, have the keeper launch it, wait for the outcome."""

import asyncio
import time

from jobworker.errors import (
    ExecFailed,
    InvalidState,
    JobNotFound,
    KeyConflict,
    RpcError,
    ShuttingDown,
)
from jobworker.host.keeper_link import KeeperGone, KeeperLink
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.caps import NO_CAPS, Caps, RoleCaps
from jobworker.jobs.draining import Drain
from jobworker.jobs.plan import LaunchPlan
from jobworker.jobs.quotas import Quotas
from jobworker.jobs.record import JobRecord, ProcessRecord, new_id
from jobworker.jobs.remote.jobs import RemoteJobs
from jobworker.jobs.scope import EVERYTHING
from jobworker.jobs.secrets import Secrets, take_values
from jobworker.jobs.spec_rules import Specs
from jobworker.jobs.table import JobTable
from jobworker.jobs.users import Users
from jobworker.measures import Durations
from jobworker.model import Job, JobSpec, Principal, Reason, State, StopSpec
from jobworker.tracing import VARIABLE, Tracing
from jobworker.units import rfc3339


class Starting:
    """The verbs `create` and `start`."""

    def __init__(
        self,
        specs: Specs,
        users: Users,
        secrets: Secrets,
        table: JobTable,
        link: KeeperLink,
        caps: RoleCaps,
        quotas: Quotas,
        remote: RemoteJobs,
        drain: Drain,
        durations: Durations,
        tracing: Tracing | None = None,
    ) -> None:
        self._drain = drain
        self._tracing = tracing
        self._durations = durations
        self._secrets = secrets
        self._caps = caps
        self._quotas = quotas
        self._remote = remote
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
        spec, values = take_values(spec)
        self._secrets.check(spec)
        plan = await self._checked(spec, owner, admin)
        if key is None:
            return (await self._create(spec, plan, None, owner, admin, values)), True
        async with self._creating:
            existing = await self._table.by_key(owner.id, key)
            if existing is None:
                return (await self._create(spec, plan, key, owner, admin, values)), True
        if (existing.asked or existing.job.spec) != spec:
            raise KeyConflict(
                f"key: {key[:80]!r} belongs to the job {existing.job.id} with another spec", job=existing.job.id
            )
        return await self._table.seen(existing.job.id, EVERYTHING), False

    async def _checked(self, asked: JobSpec, owner: Principal, admin: bool) -> LaunchPlan:
        """Return the plan of a spec within the owner's caps, which take the place of what it leaves open."""
        caps = self._caps.of(owner, admin=admin)
        if caps is NO_CAPS:
            return await self._specs.check(asked)
        plan = await self._specs.check(caps.fill(asked, self._specs.defaults))
        await self._require_within(caps, plan, asked)
        return plan

    async def _require_within(self, caps: Caps, plan: LaunchPlan, asked: JobSpec) -> None:
        """Raise PermissionDenied for a plan that goes beyond a maximum."""
        caps.check(plan)
        if caps.grace is not None and asked.stop != StopSpec():
            caps.check_stop(await self._specs.longest_stop(plan.stop))

    async def _create(
        self,
        asked: JobSpec,
        plan: LaunchPlan,
        key: str | None,
        owner: Principal,
        admin: bool,
        values: dict[str, str],
    ) -> Job:
        self._drain.require_off()  # only here: with the key of a job that exists, that job is returned
        plan = await self._users.assign(plan, owner, admin)
        self._remote.require_user(plan)
        spec = plan.spec
        self._quotas.check_created(owner.id, self._caps.of(owner, admin=admin), spec)
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
        other = None if spec == asked else asked
        if values:
            self._secrets.keep(job.id, values)
        try:
            await self._table.add(
                JobRecord(job=job, key=key, asked=other, identity=plan.user, process=ProcessRecord())
            )
        except BaseException:
            self._secrets.drop(job.id)
            raise
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
        caps = self._caps.of(by, admin=admin)
        if caps is not NO_CAPS and active.is_created() and active.record.job.owner == by.id:
            # The maxima may be lower than when it was created. What another principal has created is what that may.
            await self._require_within(caps, self._specs.plan_of(active), active.record.job.spec)
        if active.deleted:
            raise JobNotFound(f"job {active.id} is being deleted", job=active.id)
        if active.starting or not active.is_created():
            state = active.record.job.state
            what = "is being started already" if active.starting else f"is {state}"
            raise InvalidState(f"job {active.id} {what}; expected created", state=state)
        self._users.require(active.record.identity, by, admin)
        self._quotas.check_running(active.record.job.owner, caps)
        self._quotas.check_room(active.record.job.owner, admin=admin)
        self._quotas.take_start(by.id, caps)
        active.starting = True
        try:
            await self._quotas.slots.acquire(by.id)
            try:
                self._require_open()  # still: it may have waited
                self._drain.require_off()  # last: a drain waits for what is `starting`
                begun = time.monotonic()
                if active.record.job.spec.all_secrets():
                    await self._secrets.complete(active.id, active.record.job.spec, by)
                if active.record.job.spec.elsewhere() is None:
                    await self._launch(active)
                else:
                    await self._remote.start(active, self._specs.plan_of(active))
                self._durations.add(time.monotonic() - begun)
            finally:
                self._quotas.slots.release(by.id)
        finally:
            active.starting = False
            active.notify()

    def check_room(self, by: Principal, *, admin: bool) -> None:
        """Raise RateLimited if the principal has as many running jobs as it may have."""
        self._quotas.check_running(by.id, self._caps.of(by, admin=admin))
        self._quotas.check_room(by.id, admin=admin)

    async def withdraw(self, job: str, by: Principal) -> None:
        """Delete a job that was created only to be started, and whose start was refused before it began."""
        async with self._table.held(job) as active:
            if active.is_created() and not (active.starting or active.deleted or active.record.active):
                await self._table.delete(active, by.name)
                self._secrets.drop(job)

    async def _launch(self, active: ActiveJob) -> None:
        """Have the keeper launch the job, and wait until the journal has the outcome."""
        plan = self._specs.plan_of(active)
        message = plan.message(active.id)
        if path := self._secrets.path_of(active.id, plan.spec):
            message["secrets"] = path
            message["env"] = message["env"] | self._secrets.write_files(active.id, plan)
        if self._tracing is not None:
            self._trace(active, message["env"], self._tracing)
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

    def _trace(self, active: ActiveJob, env: dict[str, str], tracing: Tracing) -> None:
        """Make the job part of the trace of the request that starts it."""
        traceparent, kept = tracing.of_job()
        if kept:
            env.setdefault(VARIABLE, traceparent)  # a spec may have its own
            self._table.save(active, active.record.with_process(trace=kept))

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
