"""One writer for the input of a job: a claim gives a lease, and a write with one that is no longer valid is refused.

Leases only grow: a writer that was paused while another one took over cannot come back by an old one.
"""

import time

from jobworker.errors import NotTheWriter
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.record import JobRecord
from jobworker.jobs.table import JobTable
from jobworker.model import Principal, Writer
from jobworker.units import rfc3339

HINT = "watch only, or claim it with steal"


class Claims:
    """The claims to the input of all jobs. A claim ends with its session, and with the agent."""

    def __init__(self, table: JobTable) -> None:
        self._table = table

    def end_all(self) -> None:
        """End the claims of sessions with an agent that died."""
        for active in self._table:
            self._end(active, None, "its agent has ended")

    def claim(self, active: ActiveJob, by: Principal, *, steal: bool) -> int:
        """Make this principal the writer and return its lease; raise NotTheWriter unless it may take that over."""
        before = active.record.job.writer
        if before is not None and not steal:
            raise _refused(active, "another client writes to it")
        lease = self._table.next_revision()
        record = _written_by(active.record, lease, Writer(by.name, rfc3339(time.time_ns())))
        detail = "claimed its input" if before is None else f"took its input over from {before.by}"
        self._table.save(active, record, by=by.name, detail=detail)
        return lease

    def release(self, job: str, lease: int, by: str | None) -> None:
        """End a claim; raise NotTheWriter if the lease is not, or no longer, the writer's."""
        active = self._table.active(job)
        if active is None or active.record.input.lease != lease:
            raise NotTheWriter(f"job {job}: this lease is not its writer's", writer=None)
        self._end(active, by, "released its input")

    def _end(self, active: ActiveJob, by: str | None, detail: str) -> None:
        if active.record.input.lease and not active.record.job.state.final:
            self._table.save(active, _written_by(active.record, 0, None), by=by, detail=detail)


def require_writer(active: ActiveJob, lease: int | None) -> None:
    """Raise NotTheWriter if another client has claimed the input, or this one had and has no more."""
    if active.record.job.state.final:
        return  # it takes no input: the caller reports that
    if active.record.input.lease != (lease or 0):
        raise _refused(active, "another client writes to it" if active.record.job.writer else "the claim has ended")


def _refused(active: ActiveJob, why: str) -> NotTheWriter:
    writer = active.record.job.writer
    who = "" if writer is None else f": {writer.by}, since {writer.since}"
    return NotTheWriter(f"job {active.id}: {why}{who}", hint=HINT, writer=writer and writer.by)


def _written_by(record: JobRecord, lease: int, writer: Writer | None) -> JobRecord:
    return record.with_input(lease=lease).with_job(writer=writer)
