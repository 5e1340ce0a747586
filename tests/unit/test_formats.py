"""What earlier versions wrote is read for ever: the files in tests/data are never changed."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from jobworker.errors import StartError
from jobworker.host.journal import Closed, Ended, Journal, Launching, Started, StartFailed
from jobworker.jobs import lifecycle
from jobworker.jobs.database import open_for_writing, open_read_only
from jobworker.jobs.identity import Identity
from jobworker.jobs.query import Query
from jobworker.jobs.record import PauseRecord, ProcessRecord, Sent, StopRequest
from jobworker.jobs.store import Store
from jobworker.logs.reader import Chunk, LogReader
from jobworker.model import Reason, Receipt, State, StopSpec

DATA = Path(__file__).parents[1] / "data" / "v1"
SAID, TIMED_OUT, FAILED = "00d21btnba8v", "00d21btnccsh", "00d21btne79h"


BOOT = "bf5e2e96-fdb7-448d-b50c-f4daa696ac3a"


def process(number: int) -> ProcessRecord:
    """Return what is known about the process of the job of this number in the tables with every state."""
    group = f"/sys/fs/cgroup/jw/00d21btnb{number:03}"
    return ProcessRecord(boot=BOOT, start=817000 + number, started=8172000000000 + number, group=group)


def test_the_journal(tmp_path: Path) -> None:
    """Every event of it, with its values."""
    shutil.copy(DATA / "journal", tmp_path / "journal")
    journal = Journal(tmp_path / "journal")
    records = journal.read()
    assert journal.read() == []
    journal.close()
    assert [(type(record), record.id) for record in records] == [
        *[(kind, SAID) for kind in (Launching, Started, Ended, Closed)],
        *[(kind, TIMED_OUT) for kind in (Launching, Started, Ended, Closed)],
        *[(kind, FAILED) for kind in (Launching, StartFailed)],
    ]
    _, started, ended, closed, _, _, killed, *_, failed = records
    assert isinstance(started, Started)
    assert (started.pid, started.start, started.boottime) == (8351, 817221, 8172215070667)
    assert isinstance(ended, Ended)
    assert (ended.code, ended.signal, ended.left, ended.signalled) == (3, None, False, False)
    assert isinstance(closed, Closed)
    assert (closed.size, closed.truncated) == (13, False)
    assert isinstance(killed, Ended)
    assert (killed.code, killed.signal, killed.signalled) == (None, 15, True)
    assert isinstance(failed, StartFailed)
    assert (failed.step, failed.errno) == ("exec", 2)


def test_the_log(tmp_path: Path) -> None:
    """Three arrivals of two streams, in order, with their times."""
    for name in ("index", "out", "err"):
        shutil.copy(DATA / f"log-{name}", tmp_path / name)
    reader = LogReader(tmp_path)
    chunks: list[Chunk] = []
    while chunk := reader.read(chunks[-1].end if chunks else 0):
        assert isinstance(chunk, Chunk)
        chunks.append(chunk)
    reader.close()
    assert [(chunk.offset, chunk.stream, chunk.data) for chunk in chunks] == [
        (0, 0, b"out\n"),
        (4, 1, b"err\n"),
        (8, 0, b"end\0\xff"),
    ]
    assert chunks[0].time == 1795480180164122646


async def test_the_job_table(tmp_path: Path) -> None:
    """Every record of it, by id and by key, and how much of the journal it knows."""
    shutil.copy(DATA / "jobs.db", tmp_path / "jobs.db")
    store = Store(tmp_path / "jobs.db", 1000)
    try:
        assert store.meta("journal", 0) == (DATA / "journal").stat().st_size
        record = await store.by_key("token:local", "k1")
        assert record is not None
        job = record.job
        assert (job.id, job.name, job.labels, job.spec.env) == (SAID, "said", {"a": "b"}, {"X": "y"})
        assert job.exit is not None
        assert (job.state, job.exit.code, job.exit.reason, job.log.bytes) == (State.EXITED, 3, Reason.FINISHED, 13)
        page, _ = await store.page(Query())
        assert [(found.job.state, found.job.exit and found.job.exit.reason) for found in page] == [
            (State.CREATED, None),
            (State.EXITED, Reason.START_FAILED),
            (State.EXITED, Reason.TIMEOUT),
            (State.EXITED, Reason.FINISHED),
        ]
        assert store.active_records() == []
    finally:
        await store.close()


async def test_a_receipt_with_means(tmp_path: Path) -> None:
    """A receipt whose `method` was stored as `means` is read: in an exit, beside it, and in an event."""
    shutil.copy(DATA / "jobs.db", tmp_path / "jobs.db")
    await Store(tmp_path / "jobs.db", 1000).close()  # creates the table of events
    receipt = '{"strategy":"graceful","means":"cgroup","proof":"complete"}'
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        db.execute(
            "UPDATE jobs SET record = json_set(record, '$.receipt', json(?), '$.job.exit.receipt', json(?),"
            " '$.job.labels', json('{\"means\":\"any\"}')) WHERE id = ?",
            (receipt, receipt, TIMED_OUT),
        )
        db.execute(
            "INSERT INTO events SELECT 1, id, json_object('revision', 1, 'time', '', 'event', 'stopped',"
            " 'by', 'token:local', 'detail', '', 'job', json_extract(record, '$.job')) FROM jobs WHERE id = ?",
            (TIMED_OUT,),
        )
        db.commit()
    store = Store(tmp_path / "jobs.db", 1000)
    try:
        record = await store.get(TIMED_OUT)
        assert record is not None
        assert record.job.exit is not None
        assert record.stop.receipt == record.job.exit.receipt == Receipt("graceful", "cgroup", "complete")
        assert record.job.labels == {"means": "any"}
        (event,) = await store.events_of(TIMED_OUT)
        assert event.job.exit == record.job.exit
        ((_, text),) = (await store.events_after(0)).events
        assert ('"method":"cgroup"' in text, '"means":"cgroup"' in text) == (True, False)
    finally:
        await store.close()


@pytest.fixture(params=["v1/states.db", "v2/jobs.db"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Open a table with one job in every state, in each format."""
    shutil.copy(DATA.parent / request.param, tmp_path / "jobs.db")
    store = Store(tmp_path / "jobs.db", 1000)
    yield store
    await store.close()


async def test_jobs_in_every_state(store: Store) -> None:
    """Each record of format 1 and 2 has the same groups, and the agent keeps in memory what may still change."""
    page, _ = await store.page(Query())
    by_name = {record.job.name: record for record in page}
    assert {name: record.process for name, record in by_name.items()} == {
        "created": ProcessRecord(),
        "announced": ProcessRecord(boot=BOOT),
        "launching": ProcessRecord(launching=True, boot=BOOT, group="/g/3", namespace=True),
        "running": process(4),
        "updated": replace(process(5), namespace=True, init=7005, init_start=816005),
        "paused": process(6),
        "stopping": process(7),
        "outlived": replace(process(8), left=True),
        "survivors": replace(process(9), left=True),
        "exited": process(10),
        "over": process(11),
        "lost": process(12),
    }
    ladder = StopSpec(strategy="ladder", grace="5s")
    requests = {name: record.stop.request for name, record in by_name.items() if record.stop.request}
    assert requests == {
        "stopping": StopRequest(Reason.STOPPED, "ann", "ladder", "enough", ladder),
        "outlived": StopRequest(Reason.TIMEOUT, "total", "graceful", "timed out after 1 s"),
        "survivors": StopRequest(Reason.STOPPED, "ann", "kill"),
    }
    receipts = {name: record.stop.receipt for name, record in by_name.items() if record.stop.receipt}
    assert {name: receipt.survivors for name, receipt in receipts.items()} == {
        "outlived": [{"pid": 8008, "name": "sleep", "command": "sleep 600"}]
    }
    assert {name: record.stop.sent for name, record in by_name.items() if record.stop.sent} == {
        "running": Sent("SIGHUP", "ann")
    }
    changed = {name: record.pause for name, record in by_name.items() if record.pause != PauseRecord()}
    assert changed == {"paused": PauseRecord(frozen=True), "updated": PauseRecord(resumed=8172000009999)}
    assert {name for name, record in by_name.items() if record.log.closed} == {"survivors", "over", "lost"}
    updated, running = by_name["updated"], by_name["running"]
    assert updated.asked is not None
    assert (updated.asked.timeout, updated.job.spec.timeout) == ("10m", "1h")
    assert running.identity == Identity("nobody", 65534, 65534, [65534], "/nonexistent", "/")
    active = [record.job.name for record in store.active_records()]
    assert active == [name for name in reversed(by_name) if name not in ("created", "over", "lost")]
    assert [record.job.name for record in await store.oldest_ended(10)] == ["over", "lost"]
    assert [totals[1:] for totals in store.ended_totals()] == [(2, 70)]


@pytest.mark.parametrize("opened", [lambda path: open_for_writing(path, False), open_read_only], ids=["rw", "ro"])
def test_the_columns_of_a_table_of_format_1(tmp_path: Path, opened: Callable[[Path], sqlite3.Connection]) -> None:
    """They are filled from the records, in memory if the disk cannot be written; a damaged record keeps none away."""
    path = tmp_path / "jobs.db"
    shutil.copy(DATA / "states.db", path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP INDEX ended")  # it parses each record
        db.execute("UPDATE jobs SET record = '{' WHERE id = '00d21btnb004'")
    before = path.read_bytes()
    with closing(opened(path)) as db:
        assert db.execute("SELECT id, ended, kept FROM jobs WHERE kept").fetchall() == [
            ("00d21btnb011", "2026-11-24T00:29:41.093412Z", 70)
        ]
        assert db.execute("SELECT * FROM labels").fetchall() == [("a", "b", "00d21btnb011")]
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    assert (path.read_bytes() == before) == (opened is open_read_only)


async def test_a_record_of_format_1_is_rewritten_when_it_changes(tmp_path: Path) -> None:
    """The table has the format 2 from the start on, its rows one by one."""
    path = tmp_path / "jobs.db"
    shutil.copy(DATA / "states.db", path)
    store = Store(path, 1000)
    record = await store.get("00d21btnb006")
    assert record is not None
    resumed = lifecycle.resumed(record, 77)
    store.put(resumed)
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        rows = dict(db.execute("SELECT id, record FROM jobs"))
    assert [job for job, text in rows.items() if "process" in json.loads(text)] == ["00d21btnb006"]
    store = Store(path, 1000)
    assert await store.get("00d21btnb006") == resumed
    await store.close()


async def test_a_damaged_record_is_no_record_of_format_1(tmp_path: Path) -> None:
    """A group that cannot be read is an error, never the absence of a process."""
    path = tmp_path / "jobs.db"
    shutil.copy(DATA.parent / "v2" / "jobs.db", path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE jobs SET record = json_set(record, '$.process.start', 'x') WHERE id = '00d21btnb004'")
    store = Store(path, 1000)
    with pytest.raises(msgspec.ValidationError, match=r"\$\.process\.start"):
        await store.get("00d21btnb004")
    await store.close()


@pytest.mark.parametrize("opened", [lambda path: open_for_writing(path, False), open_read_only], ids=["rw", "ro"])
def test_a_later_format_is_refused_and_untouched(
    tmp_path: Path, opened: Callable[[Path], sqlite3.Connection]
) -> None:
    """An agent of an older version does not guess: neither to write nor to read."""
    path = tmp_path / "jobs.db"
    shutil.copy(DATA.parent / "v2" / "jobs.db", path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=3")
    before = path.read_bytes()
    with pytest.raises(StartError, match=r"later version \(format 3\); expected at most 2"):
        opened(path)
    assert path.read_bytes() == before
