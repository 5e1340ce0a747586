"""The offset at which the last lines of a log begin."""

import os
from pathlib import Path

import pytest
from tests.support.log_writer import ALL, RECORD, Writer

from jobworker.logs.reader import CHUNK_BYTES, LogReader
from jobworker.logs.tail import last_lines

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
    """The offset at which the last N lines begin, in order of arrival; an incomplete last line counts."""
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
    """They begin at the end of the log: at 0, or behind the bytes of the other stream."""
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
    """The search ends at its limit, at the begin of an arrival."""
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
