"""Report what jobs use now, or had used at their end."""

import asyncio
import time

from msgspec import UNSET, to_builtins

from jobworker.host import usage
from jobworker.host.keeper_link import KeeperLink
from jobworker.host.process_tree import described
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.record import JobRecord
from jobworker.jobs.remote.job import RemoteJob
from jobworker.jobs.secrets import Secrets
from jobworker.jobs.table import JobTable
from jobworker.model import Stats, Usage
from jobworker.units import rfc3339

USED = (*Usage.__struct_fields__, "memory", "pids")  # what a heartbeat may report


class JobStats:
    """Reads the kernel's counters for jobs, without the keeper."""

    def __init__(self, table: JobTable, link: KeeperLink, secrets: Secrets) -> None:
        self._secrets = secrets
        self._table = table
        self._link = link

    async def of(self, job: str, *, processes: bool) -> Stats:
        """Return what a job uses, and its processes if `processes`; of an ended job what it had used."""
        active = self._table.active(job)
        if active is not None and active.record.running:
            return await self._now(active, processes)
        record = active.record if active is not None else await self._table.load(job)
        exit_ = record.job.exit
        values = to_builtins(exit_.usage) if exit_ is not None and exit_.usage is not None else {}
        return _stats(record, values, [] if processes else None)

    async def _now(self, active: ActiveJob, processes: bool) -> Stats:
        if active.record.remote is not None:
            return _stats(active.record, _reported(active.remote), [] if processes else None)
        group, v1 = active.record.process.group, self._link.hello.get("v1", {})
        values, sources = await asyncio.to_thread(usage.counted, active.id, group, v1)
        kinds = usage.missing(sources)
        listed = None
        if kinds or processes:
            members = await active.tree().members()
            usage_values = await asyncio.to_thread(usage.measured, members, kinds)
            values |= usage_values
            sources |= {kind: "proc" for kind in kinds if usage.MEASURED[kind] in usage_values}
            if processes:
                listed = await asyncio.to_thread(usage.looked_at, members, await described(members))
                if active.record.job.spec.all_secrets():
                    for each in listed:
                        each["command"] = each["command"] and self._secrets.masked(active.id, str(each["command"]))
        if active.record.process.init and "pids" in values and sources["pids"] != "proc":
            values["pids"] -= 1  # the init of its namespace, which is ours
        return _stats(active.record, {**values, "source": sources}, listed)


def _reported(remote: RemoteJob | None) -> dict[str, object]:
    """Return what a runner has reported last, as far as it is what is known here."""
    used = {} if remote is None else remote.usage
    return {name: value for name, value in used.items() if name in USED and isinstance(value, int | float | dict)}


def _stats(record: JobRecord, values: dict[str, object], processes: list[dict[str, object]] | None) -> Stats:
    job = record.job
    return Stats(
        id=job.id,
        name=job.name,
        state=job.state,
        at=rfc3339(time.time_ns()),
        limits=job.spec.limits,
        processes=UNSET if processes is None else processes,
        **values,  # type: ignore[arg-type]  # by the names of the fields
    )
