"""`job.*`: create jobs, start, stop, signal, pause and change them, show and list them, wait for them."""

from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from jobworker import model, results
from jobworker.auth.access import Requires
from jobworker.errors import InvalidParams, InvalidSpec, JobNotFound, RpcError, SubscriptionNotFound
from jobworker.jobs.log_cursor import LogRange
from jobworker.jobs.plan import TtySize, signal_number
from jobworker.jobs.query import Query
from jobworker.jobs.record import is_id
from jobworker.jobs.scope import sees
from jobworker.jobs.spec_rules import MAX_LABELS
from jobworker.model import Explanation, Job, JobSpec, State, StopSpec, TimeoutSpec
from jobworker.results import Deleted, Delivered, JobPage, Resized
from jobworker.server.dispatch import Call, method
from jobworker.server.log_subscription import BINARY, LogSubscription
from jobworker.units import Duration, Rate, Size, seconds

DEFAULT_PAGE_JOBS = 100
MAX_PAGE_JOBS = 1000


class Params(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Params by name; an unknown one is refused."""


class Create(Params):
    spec: JobSpec
    key: str | None = None


class Run(Create):
    encoding: Literal["auto", "base64"] = "auto"


class OfJob(Params):
    id: str


class Stop(OfJob):
    stop: StopSpec | None = None


class Signal(OfJob):
    signal: str
    target: Literal["all", "main"] = "all"


class Limits(Params):
    """Changes to `limits` of a spec: an absent limit stays, null removes it."""

    cpus: int | float | msgspec.UnsetType | None = msgspec.UNSET
    memory: Size | msgspec.UnsetType | None = msgspec.UNSET
    pids: int | msgspec.UnsetType | None = msgspec.UNSET
    io_read: Rate | msgspec.UnsetType | None = msgspec.UNSET
    io_write: Rate | msgspec.UnsetType | None = msgspec.UNSET


class Resize(OfJob):
    rows: TtySize
    cols: TtySize
    lease: int | None = None


class Update(OfJob):
    timeout: Duration | msgspec.UnsetType | None = msgspec.UNSET
    idle_timeout: Duration | msgspec.UnsetType | None = msgspec.UNSET
    timeout_policies: list[TimeoutSpec] | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    limits: Limits | msgspec.UnsetType = msgspec.UNSET
    force: bool = False


class Stats(OfJob):
    processes: bool = False


class Wait(OfJob):
    timeout: Duration | None = None


class Delete(OfJob):
    force: bool = False


class List(Params):
    states: list[State] | None = None
    labels: dict[str, str] = {}
    owner: str | None = None
    limit: int = DEFAULT_PAGE_JOBS
    cursor: str | None = None


@method("job.create", Create, Requires.CREATE)
async def create(call: Call, params: Create) -> Job:
    """Create a job, which does not run yet; with a key that was used before, return the job of that call."""
    call.permissions.require_create(call.method, params.spec.labels)
    admin = call.permissions.is_admin(call.method)
    job, _ = await call.session.services.jobs.create(params.spec, params.key, call.session.caller, admin=admin)
    return job


@method("job.start", OfJob, Requires.READ)
async def start(call: Call, params: OfJob) -> Job:
    """Start a job that was created."""
    await call.controlled(params.id)
    admin = call.permissions.is_admin(call.method)
    return await call.session.services.jobs.start(params.id, call.session.caller, admin=admin)


@method("job.run", Run, Requires.CREATE)
async def run(call: Call, params: Run) -> results.Run:
    """Create a job, subscribe to its log from byte 0 and start it; with the key of a started job, only subscribe."""
    jobs = call.session.services.jobs
    call.session.check_subscription_limit()
    admin = call.permissions.is_admin(call.method)
    jobs.check_room(call.session.caller, admin=admin)
    call.permissions.require_create(call.method, params.spec.labels)
    job, new = await jobs.create(params.spec, params.key, call.session.caller, admin=admin)
    cursor = await jobs.logs.cursor(job.id, LogRange(), follow=True)
    encoding = BINARY if call.session.binary else params.encoding
    scopes = call.permissions.scopes("log.subscribe")
    make = partial(LogSubscription, job=job.id, cursor=cursor, encoding=encoding, scopes=scopes)
    start = partial(jobs.start, job.id, call.session.caller, admin=admin, join=True)
    try:
        subscription = call.session.subscribe(make, cursor)
    except SubscriptionNotFound:  # the caller has left meanwhile: complete what was begun, for a job that was created
        if job.state == State.CREATED:
            await start()
        raise
    if job.state == State.CREATED:
        try:
            job = await start()
        except BaseException as failure:
            await subscription.stop()
            if new and isinstance(failure, RpcError):  # the caller does not learn its id, and could not delete it
                with suppress(RpcError):
                    await jobs.withdraw(job.id, call.session.caller)
            raise
    call.after.append(subscription.start)
    return results.Run(job, subscription.name)


@method("job.stop", Stop, Requires.READ)
async def stop(call: Call, params: Stop) -> Job:
    """Stop a job, and return when its whole process tree is gone."""
    await call.controlled(params.id)
    admin = call.permissions.is_admin(call.method)
    return await call.session.services.jobs.stop(params.id, params.stop, call.session.caller, admin=admin)


@method("job.signal", Signal, Requires.READ)
async def signal(call: Call, params: Signal) -> Delivered:
    """Send a signal, which is not a stop: a job that ends of it has finished, and the exit names the sender."""
    await call.controlled(params.id)
    try:
        number = signal_number(params.signal, "signal")
    except InvalidSpec as error:
        raise InvalidParams(error.message, **error.data) from error
    delivered = await call.session.services.jobs.signal(params.id, number, params.target, call.session.caller)
    return Delivered(delivered)


@method("job.resize", Resize, Requires.READ)
async def resize(call: Call, params: Resize) -> Resized:
    """Change the size of the job's terminal; its processes in the foreground get SIGWINCH."""
    await call.controlled(params.id)
    await call.session.services.jobs.resize_terminal(params.id, params.rows, params.cols, params.lease)
    return Resized(params.rows, params.cols)


@method("job.update", Update, Requires.READ)
async def update(call: Call, params: Update) -> Job:
    """Change the given fields; of a running job, the deadline moves and the limits apply at once."""
    job = await call.controlled(params.id)
    if params.labels is not msgspec.UNSET:  # a caller may not move a job out of its own control
        call.permissions.require_control(call.method, replace(job, labels=params.labels))
    changes = _given(params, ("timeout", "idle_timeout", "timeout_policies", "labels"))
    limits = {} if params.limits is msgspec.UNSET else _given(params.limits, Limits.__struct_fields__)
    services, admin = call.session.services, call.permissions.is_admin(call.method)
    updated = await services.jobs.update(
        params.id, changes, limits, call.session.caller, admin=admin, force=params.force
    )
    if "labels" in changes:
        for session in services.sessions.open():
            session.hide(updated)
    return updated


def _given(params: Params, names: Sequence[str]) -> dict[str, Any]:
    values = {name: getattr(params, name) for name in names}
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}


@method("job.pause", OfJob, Requires.READ)
async def pause(call: Call, params: OfJob) -> Job:
    """Freeze the whole process tree."""
    await call.controlled(params.id)
    return await call.session.services.jobs.pause(params.id, call.session.caller)


@method("job.resume", OfJob, Requires.READ)
async def resume(call: Call, params: OfJob) -> Job:
    """Continue a paused job."""
    await call.controlled(params.id)
    return await call.session.services.jobs.resume(params.id, call.session.caller)


@method("job.status", OfJob, Requires.READ)
def status(call: Call, params: OfJob) -> Job | Coroutine[Any, Any, Job]:
    """Return a job as it is now."""
    return call.seen_in_memory(params.id) or call.seen_and_read(params.id)


@method("job.stats", Stats, Requires.READ)
async def stats(call: Call, params: Stats) -> model.Stats:
    """Return what the job uses now, or has used if it has ended."""
    await call.seen(params.id)
    return await call.session.read_in_turn(call.session.services.jobs.stats.of(params.id, processes=params.processes))


@method("job.explain", OfJob, Requires.READ)
async def explain(call: Call, params: OfJob) -> Explanation:
    """Explain why the job is in its state: each step in order, with the principal or part that caused it."""
    await call.seen(params.id)
    return await call.session.read_in_turn(call.session.services.jobs.explain(params.id))


@method("job.list", List, Requires.READ)
async def list_(call: Call, params: List) -> JobPage:
    """List the jobs that the caller may see, the newest first, page by page."""
    if not 1 <= params.limit <= MAX_PAGE_JOBS:
        raise InvalidParams(f"limit: {params.limit}; expected 1 to {MAX_PAGE_JOBS}", field="limit")
    if len(params.labels) > MAX_LABELS:
        raise InvalidParams(
            f"labels: {len(params.labels)}; expected at most {MAX_LABELS}, as a job has", field="labels"
        )
    states = None if params.states is None else sorted(set(params.states))
    if params.cursor is not None and not is_id(params.cursor):
        raise InvalidParams("cursor: expected `next` of an earlier page", field="cursor")
    scopes = call.permissions.scopes(call.method)
    query = Query(states, params.labels, params.owner, params.cursor, scopes, params.limit)
    jobs, following = await call.session.read_in_turn(call.session.services.jobs.list(query))
    return JobPage(jobs, following)


@method("job.wait", Wait, Requires.READ)
async def wait(call: Call, params: Wait) -> Job:
    """Return a job when it has ended."""
    limit = None if params.timeout is None else seconds(params.timeout, "timeout")
    jobs, job = call.session.services.jobs, await call.seen(params.id)
    if not jobs.ended(job):
        del job  # it may have megabytes, and becomes old
        job = await call.session.while_connected(jobs.wait(params.id, limit))
        if not sees(call.permissions.scopes(call.method), job):  # its labels have changed meanwhile
            raise JobNotFound(f"there is no job {params.id!r}", job=params.id)
    if call.session.takes_answers:
        return job
    del job  # until the caller has read other answers
    return await call.seen_and_read(params.id)


@method("job.delete", Delete, Requires.READ)
async def delete(call: Call, params: Delete) -> Deleted:
    """Delete a job that has ended, with its log."""
    await call.controlled(params.id)
    await call.session.services.jobs.delete(params.id, params.force, call.session.caller)
    return Deleted(True)
