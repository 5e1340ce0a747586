"""Records of jobs that ended a moment ago: bounded, never older than the store, and gone with the job."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from jobworker.jobs.recent import MAX_BYTES, MAX_RECORDS, RecentRecords
from jobworker.jobs.record import JobRecord, LogRecord, ProcessRecord, new_id
from jobworker.jobs.scope import EVERYTHING, Scope
from jobworker.jobs.table import JobTable
from jobworker.model import Job, JobSpec, State
from jobworker.paths import Home


def record(command: str = ":") -> JobRecord:
    job = Job(
        id=new_id(), name=None, state=State.EXITED, spec=JobSpec(shell=command), owner="token:a", created_at="2026"
    )
    return JobRecord(job=job, process=ProcessRecord(), log=LogRecord(closed=True))


def test_a_bound_on_their_number() -> None:
    """The oldest is dropped; one that is put again is not the oldest."""
    recent = RecentRecords()
    first, second, *others = [record() for _ in range(MAX_RECORDS)]
    for each in (first, second, *others, first, record()):
        recent.put(each)
    assert recent.get(second.job.id) is None
    assert recent.get(first.job.id) is first
    assert recent.get(others[0].job.id) is others[0]


def test_a_bound_on_their_bytes() -> None:
    """A few large specs take the room of many small ones, and give it back."""
    recent = RecentRecords()
    small = record()
    recent.put(small)
    for _ in range(10):
        recent.put(record("x" * (MAX_BYTES // 3)))
    assert recent.get(small.job.id) is None
    assert len(recent._records) == 2
    for job in list(recent._records):
        recent.drop(job)
    assert recent._bytes == 0


@pytest.fixture
async def table(home: Home) -> AsyncIterator[JobTable]:
    home.create()
    opened = JobTable(home, 1000)
    yield opened
    await opened.close()


async def ended(table: JobTable) -> JobRecord:
    """Return the record of a job that has ended and left the memory."""
    over = record()
    active = table.insert(replace(over.with_job(state=State.RUNNING), log=LogRecord()))
    table.save(active, replace(active.record.with_job(state=State.EXITED), log=over.log))
    assert table.active(over.job.id) is None
    return active.record


async def test_what_was_changed_is_seen(table: JobTable) -> None:
    """After a change of an ended job, the changed one is in memory."""
    old = await ended(table)
    assert table.seen_in_memory(old.job.id, EVERYTHING) == old.job
    async with table.held(old.job.id) as active:
        table.save(active, active.record.with_job(labels={"a": "b"}))
    found = table.seen_in_memory(old.job.id, EVERYTHING)
    assert found is not None
    assert (found.labels, found.revision > old.job.revision) == ({"a": "b"}, True)


async def test_a_foreign_one_is_not_seen(table: JobTable) -> None:
    """The caller that may not see it takes the steps for a job that does not exist."""
    job = (await ended(table)).job.id
    assert table.seen_in_memory(job, [Scope("token:b")]) is None
    assert table.seen_in_memory(job, [Scope("token:a", {"a": "*"})]) is None
    assert table.seen_in_memory(job, []) is None
    assert table.seen_in_memory(job, [Scope("token:a")]) is not None


async def test_a_deleted_one_is_gone(table: JobTable) -> None:
    """Whether a caller deletes it or the retention does."""
    first, second = await ended(table), await ended(table)
    async with table.held(first.job.id) as active:
        await table.delete(active, "a")
    claimed = table.claim(second)
    assert claimed is not None
    await table.delete(claimed, "retention")
    assert [table.seen_in_memory(each.job.id, EVERYTHING) for each in (first, second)] == [None, None]
