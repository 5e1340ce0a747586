"""`agent.*`: describe the agent and what it can do on this host, ping it, end or restart it."""

import asyncio
import os
import platform
import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from jobworker import __version__, resources
from jobworker.auth.access import Requires
from jobworker.config import Count
from jobworker.host import spool
from jobworker.host.keeper_process import program_checksum
from jobworker.jobs.garbage import Limits
from jobworker.protocol import MAX_BATCH, MAX_MESSAGE, SUBPROTOCOL
from jobworker.results import AgentHealth, AgentInfo, Amount, Collected, Drained, Garbage, Pong
from jobworker.screen import MAX_CELLS
from jobworker.server.dispatch import Call, method
from jobworker.units import Duration, Size, rfc3339, size


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Shutdown(msgspec.Struct, forbid_unknown_fields=True):
    jobs: Literal["stop", "leave"] = "leave"


class GarbageLimits(msgspec.Struct, forbid_unknown_fields=True):
    age: Duration | None = None
    jobs: Count | None = None
    bytes: Size | None = None


@method("agent.ping", Nothing, Requires.LOGIN)
def ping(call: Call, params: Nothing) -> Pong:
    """Return the time of the agent's clock."""
    return Pong(rfc3339(time.time_ns()))


@method("agent.info", Nothing, Requires.LOGIN)
def info(call: Call, params: Nothing) -> AgentInfo:
    """Describe the agent; a caller that may do nothing learns only what it needs to speak to it."""
    services = call.session.services
    keeper = services.jobs.link.hello
    limits = msgspec.to_builtins(services.config.limits)
    del limits["roles"]  # those of others are for the operator
    if not call.permissions.has_rights:
        return AgentInfo(protocol=SUBPROTOCOL, limits={"message_bytes": MAX_MESSAGE, "batch": MAX_BATCH})
    hidden = services.jobs.waits.hidden()
    return AgentInfo(
        version=__version__,
        pid=os.getpid(),
        address=services.address,
        protocol=SUBPROTOCOL,
        tls=services.tls.certificate.describe(),
        durability=services.config.agent.durability,
        limits=limits | {"message_bytes": MAX_MESSAGE, "batch": MAX_BATCH},
        plugins=[services.plugin(plugin) for plugin in services.registry.plugins],
        keeper={"pid": keeper.get("pid"), "pump": keeper.get("pump") or None},
        capabilities={
            "stop": "cgroup" if keeper.get("cgroup") else "sweep",
            "limits": keeper.get("limits", []),
            "namespace": keeper.get("namespace", ""),
            "stdin": spool.BOUND if keeper.get("stdin") else 0,
            "users": keeper.get("users", "agent"),
            "private_tmp": bool(keeper.get("private_tmp")),
            "sandbox": keeper.get("sandbox", []),
            "terminal": bool(keeper.get("terminal")),
            "screen": MAX_CELLS if keeper.get("terminal") else 0,
            "waiting": not hidden,
            "missing": _missing(keeper, hidden or services.jobs.waits.refused()),
            "notify": services.jobs.logs.notification,
            "log": "splice" if keeper.get("splice") else "copy",
            "log_bound": "drop" if keeper.get("punch") else "refuse",
        },
        running=services.jobs.running(call.permissions.scopes("job.list")),
        draining=services.jobs.drain.since or None,
    )


def _missing(keeper: Mapping[str, Any], waiting: str) -> dict[str, str]:
    """Return what this host lacks, each with the reason and what to change."""
    reasons = {f"limits.{kind}": reason for kind, reason in keeper.get("no_limits", {}).items()}
    reasons |= {"cgroup": keeper.get("no_cgroup", ""), "namespace": keeper.get("no_namespace", "")}
    reasons["private_tmp"] = keeper.get("no_private_tmp", "")
    reasons["sandbox"] = keeper.get("no_sandbox", "")
    reasons["terminal"] = keeper.get("no_terminal", "")
    reasons["waiting"] = waiting
    return {name: reason for name, reason in sorted(reasons.items()) if reason}


@method("agent.health", Nothing, Requires.ADMIN)
async def health(call: Call, params: Nothing) -> AgentHealth:
    """Return what the agent uses of its host and of its budgets."""
    services = call.session.services
    code = services.jobs.link.hello.get("code")
    host = await call.session.read_in_turn(asyncio.to_thread(resources.measure, services.home))
    current = await call.session.read_in_turn(asyncio.to_thread(program_checksum)) == code
    jobs, logs = services.jobs.retained()
    config = services.config
    return AgentHealth(
        time=rfc3339(time.time_ns()),
        version=__version__,
        python=platform.python_version(),
        state=str(services.home.path),
        read_only=host.read_only,
        disk=Amount(host.disk_used, host.disk),
        inodes=Amount(host.inodes_used, host.inodes or None),
        descriptors=Amount(host.descriptors_used, host.descriptors),
        inotify=Amount(host.inotify_used, host.inotify),
        jobs=Amount(jobs, config.retention.jobs or None),
        logs=Amount(logs, size(config.retention.bytes, "retention.bytes") or None),
        audit=Amount(host.audit, size(config.audit.max_bytes, "audit.max_bytes") or None),
        keeper_current=current,
        ready=await services.health.checks(),
        started=rfc3339(services.started),
        connections=len(services.sessions.open()),
    )


@method("agent.shutdown", Shutdown, Requires.ADMIN)
def shutdown(call: Call, params: Shutdown) -> bool:
    """End the agent; jobs that are left run on under the keeper until the next agent adopts them."""
    call.after.append(lambda: call.session.services.shut_down(params.jobs))
    return True


@method("agent.drain", Nothing, Requires.ADMIN)
async def drain(call: Call, params: Nothing) -> Drained:
    """Create and start no more jobs, also after a restart, until `agent.undrain`; those that run go on."""
    jobs = call.session.services.jobs
    await jobs.drain.begin(call.session.caller.name)
    return Drained(jobs.drain.since or None, jobs.running(call.permissions.scopes("job.list")))


@method("agent.undrain", Nothing, Requires.ADMIN)
async def undrain(call: Call, params: Nothing) -> Drained:
    """Create and start jobs again."""
    jobs = call.session.services.jobs
    await jobs.drain.end(call.session.caller.name)
    return Drained(None, jobs.running(call.permissions.scopes("job.list")))


@method("agent.garbage", GarbageLimits, Requires.ADMIN)
async def garbage(call: Call, params: GarbageLimits) -> Collected:
    """Return what `agent.gc` would delete now, also with other limits than those of the configuration."""
    retention = call.session.services.jobs.retention
    given = {name: value for name, value in msgspec.structs.asdict(params).items() if value is not None}
    limits = retention.limits
    if given:
        config = msgspec.structs.replace(call.session.services.config.retention, **given)
        limits = Limits.of(config)
    found, orphans = await call.session.read_in_turn(retention.garbage(limits))
    jobs, size_ = retention.kept
    left = jobs - len(found), size_ - sum(job.kept for job, _ in found)
    return _collected(await retention.amounts(found, orphans), left)


@method("agent.gc", Nothing, Requires.ADMIN)
async def collect(call: Call, params: Nothing) -> Collected:
    """Delete now what retention deletes, and logs that belong to no job; return what that was."""
    retention = call.session.services.jobs.retention
    amounts = await retention.collect()
    return _collected(amounts, retention.kept)


def _collected(amounts: Mapping[str, tuple[int, int]], left: tuple[int, int]) -> Collected:
    return Collected([Garbage(reason, *amount) for reason, amount in amounts.items()], *left)


@method("agent.restart", Nothing, Requires.ADMIN)
async def restart(call: Call, params: Nothing) -> bool:
    """Execute the agent again in place, with its current configuration; clients that connect meanwhile wait."""
    await call.session.services.may_restart()
    call.after.append(lambda: call.session.services.shut_down("restart"))
    return True
