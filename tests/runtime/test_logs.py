"""Reading a log by offset: whatever the offset, the bytes behind it are the same."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.runtime.logs import BATCH, CHUNK, Chunk, LogReader

RECORD = struct.Struct("<QQQIB3x")


class Writer:
    """Write a log as the pump does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.merged: list[tuple[int, int]] = []  # stream and value of every byte
        self.positions = [0, 0]
        self.records = 0
        for name in ("index", "out", "err"):
            (folder / name).touch()

    def arrive(self, stream: int, data: bytes) -> None:
        with (self.folder / ("out", "err")[stream]).open("ab") as file:
            file.write(data)
        self.records += 1
        record = RECORD.pack(self.records * 100, len(self.merged), self.positions[stream], len(data), stream)
        with (self.folder / "index").open("ab") as file:
            file.write(record)
        self.positions[stream] += len(data)
        self.merged += [(stream, byte) for byte in data]


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "log")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LogReader]:
    reader = LogReader(tmp_path / "log")
    yield reader
    reader.close()


def read_from(reader: LogReader, offset: int, limit: int = CHUNK) -> list[tuple[int, int]]:
    """Read to the end, checking that chunks stand side by side."""
    found: list[tuple[int, int]] = []
    while chunk := reader.read(offset, limit):
        assert isinstance(chunk, Chunk)
        assert chunk.offset == offset
        assert 0 < len(chunk.data) <= limit
        found += [(chunk.stream, byte) for byte in chunk.data]
        offset = chunk.end
    return found


@pytest.fixture
def mixed(writer: Writer) -> Writer:
    for stream, data in (
        (0, b"abc"),
        (0, b"d"),
        (1, b"EFGHI"),
        (0, b"jk"),
        (1, b"L"),
        (1, b"MNO"),
        (1, b"P"),
        (0, b"q"),
    ):
        writer.arrive(stream, data)
    return writer


@pytest.mark.parametrize("limit", [1, 2, 3, 5, CHUNK])
def test_every_offset_gives_the_same_bytes(mixed: Writer, reader: LogReader, limit: int) -> None:
    """Give from any offset, in the middle of a record too, the same bytes and streams."""
    assert reader.size() == len(mixed.merged)
    for offset in range(len(mixed.merged) + 1):
        assert read_from(reader, offset, limit) == mixed.merged[offset:]


def test_chunk_gathers_arrivals_of_one_stream(mixed: Writer, reader: LogReader) -> None:
    """Put arrivals of one stream that follow each other into one chunk, with the time of the first."""
    assert reader.read(0) == Chunk(0, 0, 100, b"abcd")
    assert reader.read(2) == Chunk(2, 0, 100, b"cd")
    assert reader.read(3) == Chunk(3, 0, 200, b"d")
    assert reader.read(4) == Chunk(4, 1, 300, b"EFGHI")
    assert reader.read(11) == Chunk(11, 1, 500, b"LMNOP")


def test_end_has_nothing(mixed: Writer, reader: LogReader) -> None:
    """Return None at the end and behind it, and the new bytes once there are some."""
    end = len(mixed.merged)
    assert reader.read(end) is None
    assert reader.read(end + 1000) is None
    mixed.arrive(1, b"new")
    assert reader.read(end) == Chunk(end, 1, 900, b"new")
    assert reader.size() == end + 3


def test_before_the_first_byte(tmp_path: Path, reader: LogReader) -> None:
    """Have size 0 and nothing to read while there is no log, and find it when there is."""
    assert reader.size() == 0
    assert reader.read(0) is None
    Writer(tmp_path / "log").arrive(0, b"x")
    assert reader.size() == 1
    assert reader.read(0) == Chunk(0, 0, 100, b"x")


def test_log_that_is_being_made(tmp_path: Path, reader: LogReader) -> None:
    """Find nothing in a folder that the pump has not filled yet, and keep no descriptor of it."""
    folder = tmp_path / "log"
    folder.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for name in ("index", "out", "err"):
        for _ in range(5):
            assert reader.size() == 0
            assert reader.read(0) is None
        assert len(os.listdir("/proc/self/fd")) == before, f"before {name} was made"
        (folder / name).touch()
    assert reader.size() == 0
    assert reader.read(0) is None


def test_only_what_the_index_covers_is_served(mixed: Writer, reader: LogReader) -> None:
    """Serve neither bytes without a record nor a record that is not whole."""
    with (mixed.folder / "out").open("ab") as file:
        file.write(b"not yet")
    with (mixed.folder / "index").open("ab") as file:
        file.write(RECORD.pack(1, len(mixed.merged), mixed.positions[0], 7, 0)[:31])
    assert reader.size() == len(mixed.merged)
    assert read_from(reader, 0) == mixed.merged
    assert reader.read(len(mixed.merged)) is None


def test_more_records_than_are_read_at_once(writer: Writer, reader: LogReader) -> None:
    """Read across the edge of a batch of records."""
    for number in range(3 * BATCH + 5):
        writer.arrive(0, bytes([number % 256]))
    for number in range(BATCH):
        writer.arrive(number % 2, bytes([number]))
    for offset in (0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH):
        assert read_from(reader, offset) == writer.merged[offset:]


def test_long_record_is_cut_at_the_limit(writer: Writer, reader: LogReader) -> None:
    """Cut a long arrival into chunks of the limit, and a chunk is never longer than asked for."""
    data = os.urandom(3 * CHUNK + 17)
    writer.arrive(0, b"x")
    writer.arrive(0, data)
    assert [len(chunk.data) for chunk in iter_chunks(reader)] == [CHUNK, CHUNK, CHUNK, 18]
    assert b"".join(chunk.data for chunk in iter_chunks(reader)) == b"x" + data


def iter_chunks(reader: LogReader) -> Iterator[Chunk]:
    offset = 0
    while chunk := reader.read(offset):
        assert isinstance(chunk, Chunk)
        yield chunk
        offset = chunk.end


def test_closed_reader_opens_again(mixed: Writer, reader: LogReader) -> None:
    """Hold no descriptor after close, and read again when asked to."""
    before = len(os.listdir("/proc/self/fd"))
    reader.read(0)
    reader.close()
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert read_from(reader, 0) == mixed.merged
