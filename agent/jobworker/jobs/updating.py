"""Change a job: time limits, labels and resource limits; those of a running job take effect at once."""

import asyncio
import errno
from typing import Any

from msgspec.structs import replace

from jobworker.errors import InvalidState, JobNotFound, NotSupported
from jobworker.host.keeper_link import KeeperLink
from jobworker.host.usage import memory_floor
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.caps import RoleCaps
from jobworker.jobs.limits import KINDS, with_disks
from jobworker.jobs.plan import LaunchPlan
from jobworker.jobs.quotas import Quotas
from jobworker.jobs.spec_rules import Specs
from jobworker.jobs.table import JobTable
from jobworker.jobs.time_limits import TimeLimits
from jobworker.model import Job, JobSpec, Principal, State, to_builtins
from jobworker.units import bytes_text

NONE = JobSpec().limits  # the default, which is left out on the wire
MAX_DETAIL = 4096  # characters of the detail of an `updated` event


class Updating:
    """The verb `update`."""

    def __init__(
        self,
        specs: Specs,
        time_limits: TimeLimits,
        table: JobTable,
        link: KeeperLink,
        caps: RoleCaps,
        quotas: Quotas,
    ) -> None:
        self._caps = caps
        self._quotas = quotas
        self._specs = specs
        self._time_limits = time_limits
        self._table = table
        self._link = link

    async def update(
        self, job: str, changes: dict[str, Any], limits: dict[str, Any], by: Principal, *, admin: bool, force: bool
    ) -> Job:
        """Change fields of the spec, and single `limits` (None takes one away), of a job that has not ended.

        A running job's deadline moves, and its limits hold when this returns. Raises InvalidState (also for a limit
        of memory below what the job uses, without `force`), NotSupported, PermissionDenied for more than the caller's
        roles allow, and the errors of a spec that is refused.
        """
        caps = self._caps.of(by, admin=admin)
        async with self._table.held(job) as active, active.updating:
            checked = await self._specs.check(_changed(active.record.job.spec, changes, limits))
            caps.for_changes([*changes, *limits]).check(checked)
            while active.starting:  # the launch message with the old limits is under way
                await active.wait_changed()
            _require_open(active)
            if limits and active.record.job.state != State.CREATED:
                await self._hold(active, checked, list(limits), force)
                _require_open(active)
            before, spec = active.record.job.spec, checked.spec
            if active.is_created():
                self._quotas.check_created(active.record.job.owner, caps, spec, instead=before)
            record = replace(active.record, asked=active.record.asked or before)
            record = record.with_job(spec=spec, labels=spec.labels)
            self._table.save(active, record, by=by.name, detail=_detail(before, changes, limits))
            self._specs.use(active, checked)
            if record.job.state in (State.RUNNING, State.PAUSED):
                self._time_limits.watch(active)
            await self._table.written()
            return self._table.public(active.record)

    async def _hold(self, active: ActiveJob, plan: LaunchPlan, names: list[str], force: bool) -> None:
        """Set the resource limits of these names in the kernel, as in a new plan."""
        if active.record.remote is not None:
            text = f"limits: job {active.id} is run by an executor, and its limits cannot be changed any more"
            raise NotSupported(text, field="limits")
        if "v1" not in self._link.hello:
            raise NotSupported("limits: the keeper is of another version and cannot change them", field="limits")
        state, now = active.record.job.state, self._specs.plan_of(active)
        try:
            message = await asyncio.to_thread(with_disks, plan.limits, now.cwd)
            before = await asyncio.to_thread(with_disks, now.limits, now.cwd)
        except OSError as error:
            raise NotSupported(error.strerror or str(error), field="limits") from error
        if not force and "memory" in names and "memory" in message:
            await self._require_room(active, message["memory"])
        kinds = dict.fromkeys(KINDS[name] for name in names)
        wanted = {kind: message.get(kind) for kind in kinds if kind in message or kind in before}
        if not wanted:
            return
        answer = await self._link.insist("limit", id=active.id, limits=wanted, before=before)
        if answer.get("gone"):
            raise InvalidState(f"job {active.id} has just ended; expected one that runs", state=state)
        if (kind := answer.get("missing")) is not None:
            name = next(name for name in names if KINDS[name] == kind)
            why = "this host limits it by cgroup v1, which needs the limit when the job starts"
            text = f"limits.{name}: job {active.id} started without this limit and cannot get one: {why}"
            raise NotSupported(text, hint="create a new job with this limit", field=f"limits.{name}")
        if refusal := answer.get("refused"):
            if answer["errno"] == errno.EBUSY:  # of v1, which does not kill for it
                raise InvalidState(
                    f"job {active.id} uses more than this limit: {refusal}", state=state, field="limits.memory"
                )
            raise NotSupported(f"limits: the kernel refuses the limit: {refusal}", field="limits")

    async def _require_room(self, active: ActiveJob, limit: int) -> None:
        """Raise InvalidState if the kernel would have to kill processes of the job at once."""
        floor = await asyncio.to_thread(memory_floor, active.id, active.record.process.group, self._link.hello["v1"])
        if floor is not None and floor > limit:
            text = (
                f"limits.memory: {limit} bytes ({bytes_text(limit)}), and job {active.id} uses {floor}"
                f" ({bytes_text(floor)}) that the kernel cannot take back: it would kill processes of the job"
            )
            hint = "give at least that much, or force to have it killed"
            raise InvalidState(text, hint=hint, state=active.record.job.state, field="limits.memory", used=floor)


def _changed(spec: JobSpec, changes: dict[str, Any], limits: dict[str, Any]) -> JobSpec:
    changed = replace(spec, **changes)
    if limits:
        left = replace(spec.limits, **limits)
        changed = replace(changed, limits=NONE if left == NONE else left)
    return changed


def _detail(spec: JobSpec, changes: dict[str, Any], limits: dict[str, Any]) -> str:
    """Return the detail of the event: what changed, and of limits also the old values."""
    parts = [f"{name}: {to_builtins(value)}" for name, value in changes.items()]
    for name, value in limits.items():
        new, old = ("none" if each is None else each for each in (value, getattr(spec.limits, name)))
        parts.append(f"limits.{name}: {new} (was {old})")
    return ", ".join(parts)[:MAX_DETAIL]


def _require_open(active: ActiveJob) -> None:
    state = active.record.job.state
    if active.deleted:
        raise JobNotFound(f"job {active.id} is being deleted", job=active.id)
    if state.final:
        raise InvalidState(f"job {active.id} is {state}; expected one that has not ended", state=state)
