"""Reading a log by offset: whatever the offset, the bytes behind it are the same."""

import os
import struct
from binascii import crc32
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.logs.reader import BATCH_RECORDS, CHUNK_BYTES, Chunk, Gap, LogReader
from jobworker.logs.tail import last_lines

RECORD = struct.Struct("<QQQIBB2x")
FIRST = struct.Struct("<QQI12x")


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
        self._record(stream, len(data), 0)
        self.merged += [(stream, byte) for byte in data]

    def lose(self, stream: int, length: int, gap: int = 1) -> None:
        """Leave a gap."""
        self.records += 1
        self._record(stream, length, gap)
        self.merged += [(stream, -1)] * length
        with (self.folder / ("out", "err")[stream]).open("ab") as file:
            file.truncate(self.positions[stream])

    def _record(self, stream: int, length: int, gap: int) -> None:
        offset = sum(self.positions)
        record = RECORD.pack(self.records * 100, offset, self.positions[stream], length, stream, gap)
        with (self.folder / "index").open("ab") as file:
            file.write(record)
        self.positions[stream] += length

    def drop(self, record: int, *names: str) -> int:
        """Drop what stands before a record, as far as the files named; return the offset of the rest."""
        index = (self.folder / "index").read_bytes()
        _, offset, position, _, stream, _ = RECORD.unpack_from(index, record * RECORD.size)
        number = FIRST.pack(record, offset, 0)[:16]
        (self.folder / "first").write_bytes(bytes(FIRST.size) + number + struct.pack("<I12x", crc32(number)))
        before = [offset - position, offset - position]
        before[stream] = position
        lengths = {"out": before[0], "err": before[1], "index": record * RECORD.size}
        for name in names:
            with (self.folder / name).open("r+b") as file:
                file.write(bytes(lengths[name]))
        return int(offset)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "log")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LogReader]:
    reader = LogReader(tmp_path / "log")
    yield reader
    reader.close()


def read_from(reader: LogReader, offset: int, limit: int = CHUNK_BYTES) -> list[tuple[int, int]]:
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


ALL = ("out", "err", "index")


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
    """Pass over it at once, say how far that goes, and find what stands behind it."""
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


def test_a_refusal_concerns_both_streams(mixed: Writer, reader: LogReader) -> None:
    """Tell readers of either stream that the log took nothing any more."""
    end = len(mixed.merged)
    mixed.lose(0, 10, gap=2)
    mixed.lose(0, 10, gap=2)
    for streams in ([0], [1], [0, 1]):
        at = reader.passed(end - 1, streams)
        assert reader.read(max(at, end), streams=streams) == Gap(end, end + 10, "refused")
        assert reader.read(end + 15, streams=streams) == Gap(end + 15, end + 20, "refused")
    assert last_lines(reader, 1, [1]) < end


@pytest.mark.parametrize("names", [(), ("out",), ("out", "err"), ALL])
@pytest.mark.parametrize("opened", [True, False])
def test_what_was_dropped_is_a_gap(mixed: Writer, names: tuple[str, ...], opened: bool) -> None:
    """From every offset in it up to where it goes on, however far the pump is, for readers from before too."""
    reader = LogReader(mixed.folder)
    if opened:
        assert reader.read(0) == Chunk(0, 0, 100, b"abcd")
        assert reader.first() == 0
    first = mixed.drop(3, *names)
    assert reader.first() == first == 9
    for offset in range(first):
        found = reader.read(offset)
        if names != ALL and offset < first and isinstance(found, Chunk):
            assert mixed.merged[offset : found.end] == [(found.stream, byte) for byte in found.data]
        else:
            assert found == Gap(offset, first, "dropped")
    if "index" in names:
        for streams in ([0], [1]):
            assert reader.read(0, streams=streams) == Gap(0, first, "dropped")
    for offset in range(first, len(mixed.merged)):
        assert read_from(reader, offset) == mixed.merged[offset:]
    assert reader.since(0) == reader.since(100) == first
    assert reader.since(500) == 11
    assert last_lines(reader, 100) == first
    reader.close()


def test_a_copy_of_first_that_is_not_whole(mixed: Writer, reader: LogReader) -> None:
    """Believe the other one; with none, see from the index what is gone."""
    first = mixed.drop(3, *ALL)
    data = (mixed.folder / "first").read_bytes()
    with (mixed.folder / "first").open("r+b") as file:
        file.write(FIRST.pack(7, 16, 123))
    assert reader.first() == first
    (mixed.folder / "first").write_bytes(data[:40])
    assert reader.first() == 0
    assert reader.read(2) == Gap(2, first, "dropped")
    (mixed.folder / "first").write_bytes(b"")
    assert reader.read(2) == Gap(2, first, "dropped")


def test_zeros_that_the_job_wrote(writer: Writer, reader: LogReader) -> None:
    """Are bytes like any others, in a log that has dropped something too."""
    for _ in range(4):
        writer.arrive(0, bytes(10))
    assert read_from(reader, 0) == writer.merged
    first = writer.drop(2, *ALL)
    assert read_from(reader, first) == writer.merged[first:]


def test_since(mixed: Writer, reader: LogReader, tmp_path: Path) -> None:
    """Find the first byte that arrived at a time or later; the end where none has, 0 where there is no log."""
    assert LogReader(tmp_path / "none").since(5) == 0
    times = {-5: 0, 0: 0, 100: 0, 101: 3, 200: 3, 300: 4, 799: 16, 800: 16, 801: 17, 2**62: 17}
    assert {time: reader.since(time) for time in times} == times


TEXTS: dict[str, list[tuple[int, bytes | int]]] = {
    "lines": [(0, b"one\ntw"), (1, b"E1\nE2"), (0, b"o\nthree\n"), (1, b"\nE3\n")],
    "unterminated": [(0, b"one\n"), (1, b"E1"), (0, b"two\nthr"), (1, b"\nE"), (0, b"ee")],
    "only newlines": [(0, b"\n\n\n"), (1, b"\n"), (0, b"\n\n"), (1, b"\n\n\n\n")],
    "no newline": [(0, b"abc"), (1, b"def"), (0, b"g"), (0, b"hi")],
    "CRLF": [(0, b"one\r\ntwo\r"), (1, b"E\r\n"), (0, b"\nthree\r\n")],
    "one stream": [(0, b"a\nb\n"), (0, b"c\n")],
    "a gap": [(0, b"one\ntw"), (1, b"E1\n"), (0, 300_000), (1, b"E2\n"), (0, b"o\nthree\n"), (1, 70_000)],
    "gaps alone": [(0, 10), (1, 20)],
    "large": [(0, b"x" * 200_000 + b"\nyy\n"), (1, b"z" * 70_000 + b"\n"), (0, b"w" * 65_536), (1, b"v\n" * 70_000)],
}


@pytest.mark.parametrize("streams", [(0, 1), (0,), (1,)])
@pytest.mark.parametrize("text", TEXTS)
def test_last_lines(writer: Writer, reader: LogReader, text: str, streams: tuple[int, ...]) -> None:
    """Begin where so many lines are left, in the order of arrival; a last one without its newline is one."""
    for stream, what in TEXTS[text]:
        if isinstance(what, int):
            writer.lose(stream, what)
        else:
            writer.arrive(stream, what)
    whole = bytes(byte for stream, byte in writer.merged if stream in streams and byte >= 0)
    lines = whole.split(b"\n")
    lines = [line + b"\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
    assert last_lines(reader, 0, streams) == reader.size()
    for count in (1, 2, 3, 4, 5, 100_000):
        start = last_lines(reader, count, streams)
        left = bytes(byte for stream, byte in writer.merged[start:] if stream in streams and byte >= 0)
        assert left == b"".join(lines[-count:]), count
        assert (
            start == 0 or start == reader.size() or writer.merged[start - 1][0] in streams or len(lines) < count + 1
        )


def test_last_lines_of_nothing(writer: Writer, reader: LogReader, tmp_path: Path) -> None:
    """Are where the log ends: at 0, or behind what only the other stream wrote."""
    assert last_lines(LogReader(tmp_path / "none"), 3) == 0
    assert last_lines(reader, 3) == 0
    writer.arrive(0, b"x\ny\n")
    assert last_lines(reader, 3, [1]) == 4


def test_last_lines_after_a_drop(writer: Writer, reader: LogReader) -> None:
    """Never begin before the oldest byte that is kept."""
    for number in range(200):
        writer.arrive(number % 2, b"%04d\n" % number)
    first = writer.drop(150, *ALL)
    for streams in ((0, 1), (0,), (1,)):
        start = last_lines(reader, 1000, streams)
        assert start in (first, first + 5)
        rest = [number for number in range(150, 200) if number % 2 in streams]
        for count in (1, 7, len(rest)):
            at = last_lines(reader, count, streams)
            left = bytes(byte for stream, byte in writer.merged[at:] if stream in streams)
            assert left == b"".join(b"%04d\n" % number for number in rest[-count:])


@pytest.mark.parametrize("streams", [(0, 1), (0,)])
def test_last_lines_of_a_gigabyte_without_any(
    writer: Writer, reader: LogReader, monkeypatch: pytest.MonkeyPatch, streams: tuple[int, ...]
) -> None:
    """Look back no further than told, and begin where an arrival does."""
    length = 60_000
    records = (1 << 30) // length
    with (writer.folder / "out").open("r+b") as out:
        out.truncate(records * length)
        for at in range(records - 400, records):
            os.pwrite(out.fileno(), b"x" * length, at * length)
    index = b"".join(RECORD.pack(n + 1, n * length, n * length, length, 0, 0) for n in range(records))
    (writer.folder / "index").write_bytes(index)
    read, pread = [0], os.pread

    def counting(fd: int, size: int, at: int) -> bytes:
        data = pread(fd, size, at)
        read[0] += len(data) if fd in reader._files else 0
        return data

    monkeypatch.setattr(os, "pread", counting)
    limit = 1 << 20
    start = last_lines(reader, 3, streams, limit)
    assert limit <= read[0] <= limit + CHUNK_BYTES
    assert start % length == 0
    assert 0 <= records * length - limit - start < length


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("first", range(1, 8))
def test_reading_on_after_a_drop(mixed: Writer, reader: LogReader, first: int, whole: bool) -> None:
    """Who stands where the last chunk ended is told what is gone, whether `first` can be read or not."""
    at = reader.read(0)
    assert isinstance(at, Chunk)
    begin = mixed.drop(first, *ALL)
    if not whole:
        (mixed.folder / "first").unlink()
    found = reader.read(at.end)
    if begin > at.end:
        assert found == Gap(at.end, begin, "dropped")
    else:
        assert isinstance(found, Chunk)
    assert read_from(reader, begin) == mixed.merged[begin:]


def test_reading_on_in_steps(mixed: Writer, reader: LogReader) -> None:
    """Give every byte once where each read begins where the last ended, within a record and at its end."""
    for limit in range(1, 8):
        assert read_from(reader, 0, limit) == mixed.merged
    for limit in (2, CHUNK_BYTES):
        end = len(mixed.merged)
        mixed.arrive(1, b"later")
        assert read_from(reader, end, limit) == mixed.merged[end:]
