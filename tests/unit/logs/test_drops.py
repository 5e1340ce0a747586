"""Logs of which a part was dropped."""

import pytest
from tests.support.log_writer import ALL, FIRST, Writer, read_from

from jobworker.logs.reader import CHUNK_BYTES, Chunk, Gap, LogReader
from jobworker.logs.tail import last_lines


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
    """From every offset in it up to the next byte, however far the pump is, also for readers from before."""
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


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("first", range(1, 8))
def test_reading_on_after_a_drop(mixed: Writer, reader: LogReader, first: int, whole: bool) -> None:
    """A reader at the end of the last chunk gets the gap, whether `first` can be read or not."""
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
    """Every byte comes once if each read begins at the end of the last one, within a record and at its end."""
    for limit in range(1, 8):
        assert read_from(reader, 0, limit) == mixed.merged
    for limit in (2, CHUNK_BYTES):
        end = len(mixed.merged)
        mixed.arrive(1, b"later")
        assert read_from(reader, end, limit) == mixed.merged[end:]
