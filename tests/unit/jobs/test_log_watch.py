"""A job that is about to start is followed without a look for its log, and its first bytes are noticed."""

import asyncio
from pathlib import Path

from tests.support.records import record
from tests.support.waiting import DEADLINE

from jobworker.formats.log_index import RECORD
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.log_cursor import CachedChunk, Cursor, LogRange, SharedLog
from jobworker.jobs.log_watch import LogWatch
from jobworker.model import Job, State


async def test_first_bytes_of_a_followed_job(tmp_path: Path) -> None:
    active = ActiveJob(record(State.CREATED))
    watch = LogWatch(tmp_path)
    watch.follow(active)
    shared = SharedLog(tmp_path / active.id)

    async def at_end() -> Job:
        return active.record.job

    cursor = Cursor(shared, 0, LogRange(), active, at_end, lambda: watch.unfollow(active), None)
    silent = [active.silent]
    active.record = active.record.with_job(state=State.RUNNING)
    reading = asyncio.ensure_future(cursor.next())
    await asyncio.sleep(0)  # it waits for the log to grow
    (folder := tmp_path / active.id).mkdir()
    for name, data in (("out", b"abc"), ("err", b""), ("index", RECORD.pack(1, 0, 0, 3, 0, 0))):
        (folder / name).write_bytes(data)
    async with asyncio.timeout(DEADLINE):
        chunk = await reading
    assert isinstance(chunk, CachedChunk)
    assert chunk.chunk.data == b"abc"
    assert [*silent, active.silent] == [True, False]
    cursor.close()
    shared.reader.close()
    watch.close()
