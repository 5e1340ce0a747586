"""The job table on a disk without room."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.records import page, record

from jobworker.errors import DiskFull
from jobworker.jobs.store import Store


async def test_a_full_disk(mounted: Callable[[str], Path]) -> None:
    """Waiting callers get an error; changes are kept, and written once there is room."""
    small_disk = mounted("size=512k")
    store = Store(small_disk / "jobs.db", 1000)
    first = record()
    store.put(first)
    await store.saved()
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * 1_000_000)
    late = [record(text="y" * 8000) for _ in range(8)]
    for each in late:
        store.put(each)
    with pytest.raises(DiskFull):
        await store.saved()
    assert [store.writable] == [False]
    assert await store.get(late[0].job.id) == late[0]
    assert await store.get(first.job.id) == first
    filler.unlink()
    await store.saved()
    assert [store.writable] == [True]
    await store.close()
    store = Store(small_disk / "jobs.db", 1000)
    assert sorted(await page(store)) == sorted(each.job.id for each in (first, *late))
    await store.close()
