"""Reading a log by offset: whatever the offset, the bytes behind it are the same."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.log_writer import RECORD, Writer, read_from

from jobworker.logs.reader import BATCH_RECORDS, CHUNK_BYTES, Chunk, Gap, LogReader


@pytest.mark.parametrize("limit", [1, 2, 3, 5, CHUNK_BYTES])
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
        file.write(RECORD.pack(1, len(mixed.merged), mixed.positions[0], 7, 0, 0)[:31])
    assert reader.size() == len(mixed.merged)
    assert read_from(reader, 0) == mixed.merged
    assert reader.read(len(mixed.merged)) is None


def test_more_records_than_are_read_at_once(writer: Writer, reader: LogReader) -> None:
    """Read across the edge of a batch of records."""
    for number in range(3 * BATCH_RECORDS + 5):
        writer.arrive(0, bytes([number % 256]))
    for number in range(BATCH_RECORDS):
        writer.arrive(number % 2, bytes([number]))
    for offset in (0, 1, BATCH_RECORDS - 1, BATCH_RECORDS, BATCH_RECORDS + 1, 3 * BATCH_RECORDS):
        assert read_from(reader, offset) == writer.merged[offset:]


def test_long_record_is_cut_at_the_limit(writer: Writer, reader: LogReader) -> None:
    """Cut a long arrival into chunks of the limit, and a chunk is never longer than asked for."""
    data = os.urandom(3 * CHUNK_BYTES + 17)
    writer.arrive(0, b"x")
    writer.arrive(0, data)
    assert [len(chunk.data) for chunk in iter_chunks(reader)] == [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES, 18]
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


@pytest.mark.parametrize("streams", [(0,), (1,), (0, 1), (1, 0)])
def test_streams_that_were_not_asked_for_are_passed_over(
    mixed: Writer, reader: LogReader, streams: tuple[int, ...]
) -> None:
    """From any offset, all bytes and gaps of the streams asked for, each at its offset, and no others."""
    mixed.lose(0, 5)
    mixed.lose(1, 7)
    mixed.arrive(0, b"end")
    assert reader.read(17) == Gap(17, 22, "disk_full")
    for start in range(len(mixed.merged) + 1):
        offset, found = start, []
        while (item := reader.read(offset, 2, streams)) is not None:
            bytes_ = [-1] * (item.end - item.offset) if isinstance(item, Gap) else list(item.data)
            found += [(item.offset + n, byte) for n, byte in enumerate(bytes_)]
            offset = item.end
        expected = [(at, byte) for at, (stream, byte) in enumerate(mixed.merged) if at >= start and stream in streams]
        assert found == expected


@pytest.mark.parametrize("records", [1, BATCH_RECORDS - 1, BATCH_RECORDS, BATCH_RECORDS + 1, 5000])
def test_a_flood_of_the_other_stream(writer: Writer, reader: LogReader, records: int) -> None:
    """It is skipped at once, with the offset of its end, and the bytes behind it are found."""
    for _ in range(records):
        writer.arrive(0, b"x")
    assert reader.read(0, streams=[1]) is None
    assert reader.passed(0, [1]) == records
    assert reader.passed(0, [0]) == 0
    assert reader.passed(records, [1]) == records
    writer.arrive(1, b"oops")
    assert reader.passed(records, [1]) == records
    for _ in range(records):
        writer.arrive(0, b"x")
    assert reader.passed(0, [1]) == records
    assert reader.read(0, streams=[1]) == Chunk(records, 1, (records + 1) * 100, b"oops")
    assert reader.passed(records + 4, [1]) == reader.size() == 2 * records + 4


def test_what_arrives_during_the_look(writer: Writer, reader: LogReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pass over bytes of the other stream that were not there yet when the reader began to look."""
    writer.arrive(0, b"x" * 10)
    passed = reader.passed

    def slow(offset: int, streams: tuple[int, ...]) -> int:
        found = passed(offset, streams)
        if len(writer.merged) < 40:
            writer.arrive(0, b"y" * 10)
        return found

    monkeypatch.setattr(reader, "passed", slow)
    assert reader.read(0, streams=(1,)) is None
    writer.arrive(1, b"z")
    assert reader.read(0, streams=(1,)) == Chunk(40, 1, 500, b"z")


def test_since(mixed: Writer, reader: LogReader, tmp_path: Path) -> None:
    """Find the first byte that arrived at a time or later: the end if there is none, 0 without a log."""
    assert LogReader(tmp_path / "none").since(5) == 0
    times = {-5: 0, 0: 0, 100: 0, 101: 3, 200: 3, 300: 4, 799: 16, 800: 16, 801: 17, 2**62: 17}
    assert {time: reader.since(time) for time in times} == times


def timed(folder: Path, times: list[int]) -> LogReader:
    """Return a log in which a byte arrived at each of these times."""
    writer = Writer(folder)
    for time in times:
        writer.records = time // 100 - 1
        writer.arrive(0, b"x")
    return LogReader(folder)


@pytest.mark.parametrize(
    ("times", "since", "until"),
    [
        ([100, 200, 300, 400], {250: 2, 400: 3, 500: 4}, {250: 2, 500: 4}),
        # Set back from 1200 to 900: times that only the past has, times that the present has, times that both have.
        ([1000, 1100, 1200, 900, 1000, 1100], {950: 4, 1050: 5, 1150: 2, 1300: 6}, {1150: 6, 1050: 5}),
        # It was far ahead at first.
        ([9000, 9100, 100, 200, 300], {150: 3, 50: 0, 9050: 1}, {150: 3, 9050: 5}),
    ],
)
def test_since_with_a_clock_that_was_set_back(
    tmp_path: Path, times: list[int], since: dict[int, int], until: dict[int, int]
) -> None:
    """What has arrived since a time begins after the last byte from before it; if there is none, at the first one."""
    reader = timed(tmp_path / "log", times)
    assert {time: reader.since(time) for time in since} == since
    assert {time: reader.until(time) for time in until} == until
