"""Logs as a power cut leaves them, made by hand: what is there is served, what is not is named."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from jobworker.formats.log_index import POWER_CUT, RECORD
from jobworker.jobs.power_cut import repair_log
from jobworker.logs.reader import Chunk, Gap, LogReader
from jobworker.logs.repair import repair
from jobworker.model import LogInfo
from jobworker.pump.log import Log

PAGE = 4096
OUT, ERR = 0, 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of 40 arrivals of 1 KiB, of which every fourth is stderr's."""
    arrivals = [(ERR if number % 4 == 3 else OUT, bytes([65 + number]) * 1024) for number in range(40)]
    return write_log(tmp_path / "log", arrivals)


def write_log(folder: Path, arrivals: Sequence[tuple[int, bytes]]) -> Path:
    folder.mkdir()
    data, index, offset = [b"", b""], b"", 0
    for number, (stream, text) in enumerate(arrivals):
        index += RECORD.pack(1000 + number, offset, len(data[stream]), len(text), stream, 0)
        data[stream] += text
        offset += len(text)
    for name, content in (("out", data[OUT]), ("err", data[ERR]), ("index", index)):
        (folder / name).write_bytes(content)
    return folder


def served(folder: Path, streams: Sequence[int] = (OUT, ERR)) -> list[Chunk | Gap]:
    reader, offset = LogReader(folder), 0
    found = []
    while (one := reader.read(offset, streams=streams)) is not None:
        found.append(one)
        offset = one.end
    assert len(streams) == 1 or offset == reader.size(), "a reader comes to the end"
    reader.close()
    return found


def text(folder: Path, streams: Sequence[int] = (OUT, ERR)) -> bytes:
    return b"".join(one.data for one in served(folder, streams) if isinstance(one, Chunk))


def gaps(folder: Path) -> list[Gap]:
    return [one for one in served(folder) if isinstance(one, Gap)]


def punch(path: Path, start: int, length: int) -> None:
    """Make a hole in a file: what the file system had not written yet."""
    data = path.read_bytes()
    with path.open("wb") as file:
        file.write(data[:start])
        file.seek(start + length)
        file.write(data[start + length :])
        file.truncate(len(data))


def test_whole_log_stays_as_it_is(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert repair(folder) is False
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_silent_job_has_no_log(tmp_path: Path) -> None:
    assert repair(tmp_path / "none") is False
    assert not (tmp_path / "none").exists()


def test_stream_shorter_than_its_index_ends_at_a_byte_that_is_there(folder: Path) -> None:
    """Both streams miss their ends: the log ends at the last byte of either, what is missing before is a gap."""
    whole = text(folder)
    os.truncate(folder / "out", 20_000)
    os.truncate(folder / "err", 9 * 1024 + 100)
    assert repair(folder) is True
    assert text(folder, [OUT]) == b"".join(whole[n * 1024 :][:1024] for n in range(40) if n % 4 != 3)[:20_000]
    found = served(folder)
    assert isinstance(found[-1], Chunk)
    assert found[-1].stream == ERR
    assert found[-1].end == 39 * 1024 + 100
    assert {gap.reason for gap in gaps(folder)} == {"power_cut"}
    for one in found:
        assert isinstance(one, Gap) or one.data == whole[one.offset : one.end], "no byte has moved"
    assert repair(folder) is False, "a second repair finds nothing"


def test_log_that_lost_its_end_is_truncated(folder: Path) -> None:
    """The record has the new end of the log, and that the log is truncated."""
    os.truncate(folder / "out", 0)
    os.truncate(folder / "err", 0)
    assert repair_log(folder, LogInfo(40 * 1024, 0, truncated=False)) == LogInfo(0, 0, truncated=True)


def test_hole_is_no_output(folder: Path) -> None:
    """A page that was not written reads as zeros; they are not served as the job's."""
    whole = text(folder)
    punch(folder / "out", 2 * PAGE, PAGE)
    assert b"\0" in text(folder), "this is what is to be mended"
    assert repair(folder) is True
    assert b"\0" not in text(folder)
    assert sum(gap.end - gap.offset for gap in gaps(folder)) == PAGE
    assert len(text(folder)) == len(whole) - PAGE
    for one in served(folder):
        assert isinstance(one, Gap) or one.data == whole[one.offset : one.end]


def test_zeros_of_a_job_are_output(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", [(OUT, b"\0" * 3 * PAGE), (ERR, b"x\0"), (OUT, b"\0" * PAGE)])
    whole = text(folder)
    assert repair(folder) is False
    assert text(folder) == whole


@pytest.mark.parametrize("tail", [b"\0" * 32, b"\0" * 2 * PAGE, b"\1" * 17, b"\0" * 17])
def test_index_with_zeros_or_a_torn_record_at_its_end(folder: Path, tail: bytes) -> None:
    whole = text(folder)
    with (folder / "index").open("ab") as file:
        file.write(tail)
    assert repair(folder) is False
    assert text(folder) == whole
    assert (folder / "index").stat().st_size == 40 * RECORD.size


def test_index_that_lost_its_end_covers_all_bytes_again(folder: Path) -> None:
    """What the index does not know is there, `out` first, as after the death of a pump."""
    whole = text(folder)
    os.truncate(folder / "index", 30 * RECORD.size + 5)
    assert repair(folder) is False
    assert text(folder)[: 30 * 1024] == whole[: 30 * 1024]
    assert sorted(text(folder)) == sorted(whole)
    assert [one.stream for one in served(folder) if isinstance(one, Chunk)][-1] == ERR


def test_index_with_a_hole(tmp_path: Path) -> None:
    """Records behind a page of the index that was not written are not believed; their bytes are there."""
    folder = write_log(tmp_path / "log", [(OUT, bytes([33 + n % 90]) * 3) for n in range(400)])
    whole = text(folder)
    punch(folder / "index", PAGE, PAGE)
    assert repair(folder) is False
    assert text(folder) == whole


def test_index_without_a_file_of_bytes(folder: Path) -> None:
    (folder / "out").unlink()
    (folder / "err").unlink()
    assert repair(folder) is True
    assert served(folder) == []


def test_zeros_behind_the_index_are_not_taken_for_output(folder: Path) -> None:
    whole = text(folder)
    with (folder / "out").open("ab") as file:
        file.write(b"more" + b"\0" * 100)
    assert repair(folder) is False
    assert text(folder) == whole + b"more"


def test_dropped_bytes_are_not_lost_bytes(tmp_path: Path) -> None:
    """What a bounded log had dropped before is a hole, and stays what it is."""
    reader, writer = os.pipe()
    log = Log("log", str(tmp_path / "log"), [reader], drops=False, bound=256 * 1024)
    (tmp_path / "log").mkdir()
    for number in range(100):
        os.write(writer, bytes([33 + number % 90]) * 8192)
        log.pump(OUT, splices=True)
    os.close(writer)
    log.close()
    folder = tmp_path / "log"
    kept = text(folder)
    assert repair(folder) is False
    assert text(folder) == kept
    os.truncate(folder / "out", 99 * 8192)
    assert repair(folder) is True
    assert text(folder) == kept[: len(kept) - 8192]
    assert RECORD.unpack((folder / "index").read_bytes()[-RECORD.size :])[5] != POWER_CUT


@pytest.mark.parametrize("closed", [False, True])
def test_block_that_ends_in_zeros(tmp_path: Path, closed: bool) -> None:
    """In a log that was open the zeros at the end of a block are missing bytes; in a closed one they are its own."""
    whole = bytes(range(1, 251)) * 40
    folder = write_log(tmp_path / "log", [(OUT, whole[start : start + 100]) for start in range(0, 10_000, 100)])
    data = bytearray(whole)
    data[4000:PAGE] = bytes(PAGE - 4000)  # within a block: the next one was written
    data[9_990:] = bytes(10)
    (folder / "out").write_bytes(data)
    assert repair(folder, closed=closed) is not closed
    if closed:
        assert text(folder) == bytes(data)
        return
    assert gaps(folder) == [Gap(4000, PAGE, "power_cut")]
    assert text(folder) == whole[:4000] + whole[PAGE:9_990]


def test_zeros_that_were_written_long_before_the_end(tmp_path: Path) -> None:
    """They are the job's: a kernel has written them back by then."""
    folder = write_log(tmp_path / "log", [(OUT, bytes(5000)), (OUT, b"end")])
    index = bytearray((folder / "index").read_bytes())
    index[RECORD.size : RECORD.size + 8] = (10**12).to_bytes(8, "little")  # the time of the second arrival
    (folder / "index").write_bytes(index)
    assert repair(folder, closed=False) is False
    assert text(folder) == bytes(5000) + b"end"


def test_an_open_log_whose_last_records_and_bytes_are_zeros(tmp_path: Path) -> None:
    """Its index seems to end at 0, which is also the size that the record of an open log has."""
    folder = write_log(tmp_path / "log", [(OUT, b"first\n"), (OUT, b"second\n"), (OUT, b"third\n")])
    (folder / "out").write_bytes(b"first\n" + bytes(13))
    index = (folder / "index").read_bytes()
    (folder / "index").write_bytes(index[: 2 * RECORD.size] + bytes(2 * RECORD.size))
    assert repair_log(folder, LogInfo(0, 0, truncated=False)) == LogInfo(6, 0, truncated=True)
    assert text(folder) == b"first\n"
