"""The pump's log, bounded: what is kept, and what the next pump makes of what the last one left."""

import errno
import os
from binascii import crc32
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.logs import KIB, MIB, SMALL, gaps, joined, on_disk

from jobworker.formats.log_index import FIRST, RECORD
from jobworker.logs.read_mark import ReadMark
from jobworker.logs.reader import Chunk, Gap, LogReader
from jobworker.pump import file_system
from jobworker.pump import log as pump_module
from jobworker.pump.waiting import Held


class Hand:
    """A log that is pumped by hand, in this process: one arrival for each write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ends = [os.pipe2(os.O_NONBLOCK) for _ in range(2)]
        self.log = self.open()
        self.written = [b"", b""]

    def open(self, bound: int = SMALL, newest: bool = True, waits: bool = False) -> pump_module.Log:
        readers = [reader for reader, _ in self.ends]
        self.log = pump_module.Log(
            "a1", str(self.folder), readers, drops=False, bound=bound, newest=newest, waits=waits
        )
        return self.log

    def arrive(self, data: bytes, stream: int = 0) -> None:
        os.write(self.ends[stream][1], data)
        self.written[stream] += data
        self.log.pump(stream, True)

    def read(self) -> list[Chunk | Gap]:
        reader, offset, found = LogReader(self.folder), 0, []
        while (item := reader.read(offset)) is not None:
            found.append(item)
            offset = item.end
        reader.close()
        return found

    def close(self) -> None:
        self.log.close()
        for pair in self.ends:
            for fd in pair:
                os.close(fd)


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    hand = Hand(tmp_path / "a1")
    yield hand
    hand.close()


def test_tiny_arrivals_do_not_make_the_index_grow(hand: Hand) -> None:
    """The records that are kept take no more than the bound either."""
    for number in range(6000):
        hand.arrive(b"%d" % (number % 10), number % 2)
    index = (hand.folder / "index").stat()
    assert index.st_size == 6000 * RECORD.size
    assert index.st_blocks * 512 <= SMALL + 4 * KIB
    found = hand.read()
    assert isinstance(found[0], Gap)
    kept = 6000 - found[0].end
    assert SMALL // RECORD.size * 3 // 4 < kept <= SMALL // RECORD.size
    for stream in (0, 1):
        assert joined(found, stream) == hand.written[stream][-kept // 2 :]


def test_a_border_between_the_streams(hand: Hand) -> None:
    """Each stream is cut at the position in the border record, also if that is of the other stream."""
    hand.arrive(b"e" * 3000, 1)
    for number in range(100):
        hand.arrive(b"%07d\n" % number * 128, number % 3 == 0)
        found = hand.read()
        size = hand.log.positions[0] + hand.log.positions[1]
        kept = [joined(found, stream) for stream in (0, 1)]
        assert sum(map(len, kept)) == size - (found[0].end if isinstance(found[0], Gap) else 0) <= SMALL
        assert all(hand.written[stream].endswith(kept[stream]) for stream in (0, 1))


STATES = ["nothing", "copy", "out", "all"]


@pytest.mark.parametrize("state", STATES)
def test_the_next_pump_finishes_what_the_last_began(hand: Hand, state: str) -> None:
    """Killed before, between or after its holes, or in the copy of `first` that came next: the same in the end."""
    for number in range(100):
        hand.arrive(b"%07d\n" % number * 128, number % 2)
    place = hand.log.records - 20
    offset, position = RECORD.unpack_from((hand.folder / "index").read_bytes(), place * RECORD.size)[1:3]
    hand.log.close()
    data = FIRST.pack(place, offset, 0)
    with (hand.folder / "first").open("wb") as first:
        first.write(data[:16] + FIRST.pack(place, offset, crc32(data[:16]))[16:])
        if state == "copy":
            first.write(FIRST.pack(place + 5, offset, 1))
    if state in ("out", "all"):
        with (hand.folder / "out").open("r+b") as out:
            file_system.punch(out.fileno(), position)
    if state == "all":
        for name, length in (("err", offset - position), ("index", place * RECORD.size)):
            with (hand.folder / name).open("r+b") as file:
                file_system.punch(file.fileno(), length)
    reader = LogReader(hand.folder)
    assert reader.read(0) == Gap(0, offset, "dropped")
    hand.open(bound=8 * MIB).open()
    assert on_disk(hand.folder) <= 20 * 1024 + 3 * 4096
    index = (hand.folder / "index").read_bytes()
    assert not any(index[: place * RECORD.size])
    hand.arrive(b"NEW")
    found = hand.read()
    assert found[0] == Gap(0, offset, "dropped")
    assert joined(found, 0) == hand.written[0][position:]
    assert joined(found, 1) == hand.written[1][offset - position :]
    reader.close()


def test_a_gap_takes_as_many_records_as_it_needs(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """One record for each 4 GiB; the time is of the last arrival, as for bytes that are kept."""
    hand.open(newest=False)
    for _ in range(9):
        hand.arrive(b"x" * 8192)
    hand.log.write_records()
    last = LogReader(hand.folder)
    before = last.last_arrival()
    hand.arrive(b"y" * 60, 1)
    hand.arrive(b"y" * 40, 0)
    assert last.last_arrival() == before
    hand.log.write_records()
    assert last.last_arrival()[0] == before[0] + 100 == 9 * 8192 + 100
    assert last.last_arrival()[1] > before[1]
    monkeypatch.setattr(pump_module, "LONGEST", 8192 + 150)
    records = hand.log.records
    hand.arrive(b"z" * 120, 1)
    hand.log.write_records()
    assert hand.log.records == records + 1
    assert [gap.end - gap.offset for gap in gaps(hand.read())] == [8192 + 150, 70]
    assert last.passed(0, [1]) == SMALL
    last.close()
    hand.log.close()
    hand.open(newest=False).open()
    assert hand.log.truncated, "it was before this pump"


def test_without_holes_the_newest_are_refused(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log then refuses new bytes, also if the file system refuses holes only later."""

    def refuse(file: int, end: int, start: int = 0) -> None:
        raise OSError(errno.EOPNOTSUPP, "no holes here")

    monkeypatch.setattr(pump_module, "punch", refuse)
    monkeypatch.setattr(file_system, "punch", refuse)
    for number in range(40):
        hand.arrive(b"%08d" % number * 512)
    hand.log.write_records()
    found = hand.read()
    assert gaps(found)[-1].reason == "refused"
    assert gaps(found)[-1].end == 40 * 4096
    assert not file_system.can_punch(str(hand.folder))


def arrive_often(hand: Hand, size: int) -> None:
    for number in range(5000):
        hand.arrive(b"%d" % (number % 10) * size)


@pytest.mark.parametrize("size", [1, 100, 4000])
def test_what_was_not_read_is_not_dropped(hand: Hand, size: int) -> None:
    """Neither for its bytes nor for its records; more is taken when a reader has gone on."""
    hand.open(waits=True)
    for _ in range(3):
        with pytest.raises(Held):
            arrive_often(hand, size)
        assert hand.log.first[1] <= hand.log.read
        read = ReadMark(str(hand.folder))
        read.note(None, sum(hand.log.positions))
        while sum(hand.log.positions) < len(hand.written[0]):
            hand.log.pump(0, True)
