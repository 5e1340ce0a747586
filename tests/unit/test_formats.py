"""What version 1 wrote is read for ever: the files in tests/data/v1 are never changed."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

from jobworker.host.journal import Closed, Ended, Journal, Launching, Started, StartFailed
from jobworker.jobs.query import Query
from jobworker.jobs.store import Store
from jobworker.logs.reader import Chunk, LogReader
from jobworker.model import Reason, Receipt, State

DATA = Path(__file__).parents[1] / "data" / "v1"
SAID, TIMED_OUT, FAILED = "00d21btnba8v", "00d21btnccsh", "00d21btne79h"


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
            "UPDATE jobs SET record = json_set(record, '$.receipt', json(?1), '$.job.exit.receipt', json(?1),"
            " '$.job.labels', json('{\"means\":\"any\"}')) WHERE id = ?2",
            (receipt, TIMED_OUT),
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
        assert record.receipt == record.job.exit.receipt == Receipt("graceful", "cgroup", "complete")
        assert record.job.labels == {"means": "any"}
        (event,) = await store.events_of(TIMED_OUT)
        assert event.job.exit == record.job.exit
        ((_, text),) = (await store.events_after(0)).events
        assert ('"method":"cgroup"' in text, '"means":"cgroup"' in text) == (True, False)
    finally:
        await store.close()
