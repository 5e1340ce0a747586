"""The chunks that readers of one log share: no more than there are readers, and none for a single one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.formats.log_index import RECORD
from jobworker.jobs.log_cursor import MAX_CACHED_CHUNKS, CachedChunk, LogRange, SharedLog
from jobworker.logs.reader import CHUNK_BYTES

CHUNKS = 3 * MAX_CACHED_CHUNKS


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedLog]:
    (tmp_path / "out").write_bytes(bytes(CHUNKS * CHUNK_BYTES))
    (tmp_path / "err").touch()
    records = (
        RECORD.pack(1, number * CHUNK_BYTES, number * CHUNK_BYTES, CHUNK_BYTES, 0, 0) for number in range(CHUNKS)
    )
    (tmp_path / "index").write_bytes(b"".join(records))
    log = SharedLog(tmp_path)
    yield log
    log.reader.close()


def read(shared: SharedLog, number: int) -> CachedChunk:
    piece = shared.read(number * CHUNK_BYTES, LogRange())
    assert isinstance(piece, CachedChunk)
    return piece


@pytest.mark.parametrize("cursors", [1, 2, 5, MAX_CACHED_CHUNKS, 2 * MAX_CACHED_CHUNKS])
def test_one_piece_for_each_reader(shared: SharedLog, cursors: int) -> None:
    """Readers close behind the first get the same chunks; then these are forgotten."""
    kept = min(cursors, MAX_CACHED_CHUNKS) if cursors > 1 else 0
    shared.cursors = cursors
    pieces = [read(shared, number) for number in range(CHUNKS)]
    assert [read(shared, number) is pieces[number] for number in range(CHUNKS - kept, CHUNKS)] == [True] * kept
    assert all(read(shared, number) is not pieces[number] for number in range(CHUNKS - kept))


def test_a_reader_that_leaves_frees_its_chunk(shared: SharedLog) -> None:
    """Chunks of a log with a single reader left are not kept in memory."""
    shared.cursors = MAX_CACHED_CHUNKS
    pieces = [read(shared, number) for number in range(CHUNKS)]
    for _ in range(MAX_CACHED_CHUNKS - 1):
        shared.leave()
    assert [read(shared, number) is pieces[number] for number in range(CHUNKS)].count(True) == 1
