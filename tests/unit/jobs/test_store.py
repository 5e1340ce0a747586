"""The job table: what was saved is there after it is opened again."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.records import page, record

from jobworker.jobs import paging
from jobworker.jobs.query import Query
from jobworker.jobs.record import JobRecord, ProcessRecord, StopRecord, StopRequest
from jobworker.jobs.store import Store
from jobworker.jobs.table import JobTable
from jobworker.model import Exit, Reason, Receipt, State, Step
from jobworker.paths import Home


@pytest.fixture
async def reopen(tmp_path: Path) -> AsyncIterator[Callable[[], "asyncio.Future[Store]"]]:
    """Close the store and open it again."""
    stores: list[Store] = []

    async def again() -> Store:
        if stores:
            await stores.pop().close()
        stores.append(Store(tmp_path / "jobs.db", 1000))
        return stores[0]

    yield lambda: asyncio.ensure_future(again())
    for store in stores:
        await store.close()


async def test_records_survive(reopen: Callable[[], "asyncio.Future[Store]"]) -> None:
    """Every field of a record, and what is kept beside them, is there after reopening."""
    store = await reopen()
    full = record(State.EXITED, key="k", a="b")
    receipt = Receipt("kill", "cgroup", "complete", [Step("t", "signal", "SIGKILL", "all", 3, 3)])
    exit_ = Exit(None, "SIGKILL", Reason.STOPPED, "ann", "why", receipt)
    full = replace(
        full,
        job=replace(full.job, exit=exit_, pid=5, revision=9),
        process=ProcessRecord(group="/g", start=3, left=True),
        stop=StopRecord(StopRequest(Reason.STOPPED, "ann", "kill", "m")),
    )
    store.put(full)
    store.set_meta("journal", 12345)
    assert await store.get(full.job.id) == full, "before it is written as well"
    await store.saved()
    store = await reopen()
    assert await store.get(full.job.id) == full
    assert await store.by_key("token:a", "k") == full
    assert await store.by_key("token:b", "k") is None
    assert store.active_records() == [full]
    assert (store.meta("journal", 0), store.meta("other", "absent")) == (12345, "absent")


async def test_the_last_put_wins(reopen: Callable[[], "asyncio.Future[Store]"]) -> None:
    """Puts and drops take effect in their order, whether they are written together or not."""
    store = await reopen()
    one, two = record(), record()
    store.put(one)
    store.put(one.with_process(group="later"))
    store.put(two)
    store.drop(two.job.id)
    assert await store.get(two.job.id) is None
    await store.saved()
    store.drop(one.job.id)
    store.put(one.with_process(group="last"))
    store = await reopen()
    assert (await store.get(one.job.id) or one).process.group == "last"
    assert await store.get(two.job.id) is None
    assert await store.get("no such id") is None


async def test_pages(reopen: Callable[[], "asyncio.Future[Store]"]) -> None:
    """Newest first; states, labels, owner and position choose."""
    store = await reopen()
    records = [
        record(State.EXITED if n % 2 else State.CREATED, f"token:{n % 3}", None, n=str(n), all="yes")
        for n in range(12)
    ]
    for each in records:
        store.put(each)
    await store.saved()
    store = await reopen()
    ids = [each.job.id for each in records][::-1]
    assert ids == sorted(ids, reverse=True)
    assert await page(store) == ids
    assert await page(store, limit=5) == ids[:5]
    assert await page(store, before=ids[4], limit=5) == ids[5:10]
    assert await page(store, states=["exited"]) == ids[::2]
    assert await page(store, states=[]) == []
    assert await page(store, owner="token:1") == [ids[i] for i in range(12) if (11 - i) % 3 == 1]
    assert await page(store, labels={"n": "7", "all": "yes"}) == [ids[4]]
    assert await page(store, labels={"n": "7", "all": "no"}) == []
    assert await page(store, labels={"a' OR '1": "x"}) == []


async def test_only_what_may_change_is_live(reopen: Callable[[], "asyncio.Future[Store]"]) -> None:
    """After a start the agent has in memory the jobs that run, are launching or left processes behind."""
    store = await reopen()
    over = record(State.EXITED).with_log(closed=True)
    living = [
        record(State.RUNNING),
        record(State.STOPPING),
        record().with_process(launching=True),
        record(State.EXITED),
        record(State.EXITED).with_log(closed=True).with_process(left=True),
    ]
    for each in (over, record(), *living):
        store.put(each)
    store = await reopen()
    assert store.active_records() == living


async def test_a_record_on_its_way_to_the_disk(reopen: Callable[[], "asyncio.Future[Store]"]) -> None:
    """The newest is found at once, also while it is written and the table still has the one before."""
    store = await reopen()
    job = record()
    store.put(job)
    await store.saved()
    disk = threading.Event()
    slow = asyncio.ensure_future(store._worker.do(disk.wait))  # what the disk does before
    newer = job.with_process(group="newer")
    store.put(newer)
    saving = asyncio.ensure_future(store.saved())
    while store._pending:  # noqa: ASYNC110  # a few turns of the loop
        await asyncio.sleep(0)
    assert store.look(job.job.id) == newer
    disk.set()
    await asyncio.gather(slow, saving)
    assert store.look(job.job.id) == newer


async def test_a_record_that_was_read_too_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that reads a created job while another runs it to its end gets the job as it is: no second start."""
    home = Home(tmp_path / "home")
    home.create()
    table = JobTable(home, 1000)
    created = record()
    await table.add(created)
    table._recent.drop(created.job.id)  # as after many other jobs
    read, go, load = asyncio.Event(), asyncio.Event(), table.load

    async def slow(job: str) -> JobRecord:
        found = await load(job)
        read.set()
        await go.wait()
        return found

    monkeypatch.setattr(table, "load", slow)
    late = asyncio.create_task(table.acquire(created.job.id))
    await read.wait()
    monkeypatch.setattr(table, "load", load)
    async with table.held(created.job.id) as active:
        exit_ = Exit(0, None, Reason.FINISHED, None, "exited with code 0")
        job = replace(created.job, state=State.EXITED, exit=exit_)
        table.save(active, replace(created, job=job).with_log(closed=True))
    go.set()
    active = await late
    assert active.record.job.state == State.EXITED
    table.release(active)
    assert table.active(created.job.id) is None, "it leaves the memory with its last call"
    await table.close()


async def test_labels_are_written_when_they_change(reopen: Callable[[], "asyncio.Future[Store]"]) -> None:
    """A job is found by the labels that it has now, after other changes of it as well."""
    store = await reopen()
    job = record(State.CREATED, a="old")
    store.put(job)
    await store.saved()
    store.put(job.with_job(state=State.RUNNING), labels=False)
    assert await page(store, labels={"a": "old"}) == [job.job.id]
    job = job.with_job(labels={"a": "new"})
    store.put(job)
    store.put(job.with_process(group="later"), labels=False)  # in the same commit
    assert await page(store, labels={"a": "old"}) == []
    assert await page(store, labels={"a": "new"}) == [job.job.id]
    store.drop(job.job.id)
    assert await page(store, labels={"a": "new"}) == []


@pytest.mark.parametrize("query", [Query(), Query(labels={"k": "odd"}), Query(labels={"k": "none"}), Query(limit=7)])
async def test_slices_are_the_same_page(
    reopen: Callable[[], "asyncio.Future[Store]"], monkeypatch: pytest.MonkeyPatch, query: Query
) -> None:
    """A query that takes long walks over some jobs at a time, and finds the same in the same order."""
    store = await reopen()
    for number in range(50):
        store.put(record(k="odd" if number % 2 else "even"))
    await store.saved()
    pages = []
    for seconds in (10.0, -1.0):  # at once, and in slices
        monkeypatch.setattr(paging, "SLICE_SECONDS", seconds)
        monkeypatch.setattr(paging, "SLICE_STEPS", 1)
        monkeypatch.setattr(paging, "SLICE_JOBS", 10)
        found, before, more = [], query.before, True
        while more:
            records, more = await store.page(query._replace(before=before))
            found.append([record.job.id for record in records])
            before = records[-1].job.id if records else before
        pages.append(found)
    assert pages[0] == pages[1]
    assert sum(map(len, pages[0])) == {"none": 0, "odd": 25}.get(query.labels.get("k", ""), 50)


async def test_a_commit_waits_for_one_slice(
    reopen: Callable[[], "asyncio.Future[Store]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for the whole of a query that finds nothing among many jobs."""
    store = await reopen()
    for _ in range(200):
        store.put(record(k="v"))
    await store.saved()
    begun, page = threading.Event(), paging.page

    def noted(db: sqlite3.Connection, query: Query) -> paging.Page:
        begun.set()
        return page(db, query)

    monkeypatch.setattr(paging, "page", noted)
    monkeypatch.setattr(paging, "SLICE_SECONDS", -1.0)
    monkeypatch.setattr(paging, "SLICE_STEPS", 1)
    monkeypatch.setattr(paging, "SLICE_JOBS", 1)
    ended: list[str] = []

    async def note(name: str, work: Awaitable[object]) -> None:
        await work
        ended.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(note("page", store.page(Query(labels={"k": "none"}))))
        await asyncio.to_thread(begun.wait)
        store.put(record())
        group.create_task(note("commit", store.saved()))
    assert ended == ["commit", "page"]
