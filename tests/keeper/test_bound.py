"""A log that is bounded: how much is kept, which bytes, what its readers are told, and what a killed pump leaves."""

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import time
from binascii import crc32
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker.formats.log_index import FIRST, RECORD
from jobworker.host.journal import Closed, Truncated
from jobworker.logs.reader import Chunk, Gap, LogReader
from jobworker.logs.tail import last_lines
from jobworker.pump import log as pump_module

if TYPE_CHECKING:
    from tests.keeper.conftest import Host

KIB = 1024
MIB = 1024 * KIB
SMALL = 64 * KIB


def numbered(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def on_disk(folder: Path) -> int:
    """Return what the bytes of a log take on the disk."""
    return sum((folder / name).stat().st_blocks * 512 for name in ("out", "err"))


def joined(found: list[Chunk | Gap], stream: int = 0) -> bytes:
    return b"".join(item.data for item in found if isinstance(item, Chunk) and item.stream == stream)


def gaps(found: list[Chunk | Gap]) -> list[Gap]:
    return [item for item in found if isinstance(item, Gap)]


async def test_the_newest_are_kept(host: "Host") -> None:
    """Of twenty times the bound an eighth less than it is left, at its old offsets, and no more on the disk."""
    lines = 3_000_000
    expected = numbered(lines)
    await host.shell("a1", f"seq {lines}", max=MIB)
    reader = host.reader("a1")

    def within() -> bool | None:
        size = reader.size()  # before `first`, which moves on meanwhile
        assert size - reader.first() <= MIB
        return size == len(expected) or None

    await host.log_says("a1", within)
    closed = await host.until(Closed, "a1")
    assert (closed.size, closed.truncated) == (len(expected), False)
    assert closed.first == reader.first()
    assert MIB * 7 // 8 - 65536 <= closed.size - closed.first <= MIB
    found = host.all("a1")
    assert found[0] == Gap(0, closed.first, "dropped")
    assert joined(found) == expected[closed.first :]
    assert on_disk(host.home.logs / "a1") <= MIB + 8 * KIB  # a block more where each stream begins
    assert not host.of(Truncated, "a1")


async def test_the_newest_of_two_streams(host: "Host") -> None:
    """Each stream keeps what of it is in the last bytes of both."""
    lines = 1_000_000
    await host.finish("a1", f"seq {lines} & seq {lines} >&2; wait", max=MIB)
    closed = host.of(Closed, "a1")[0]
    assert closed.size == 2 * len(numbered(lines))
    found = host.all("a1")
    assert gaps(found) == [Gap(0, closed.first, "dropped")]
    kept = [joined(found, stream) for stream in (0, 1)]
    assert sum(map(len, kept)) == closed.size - closed.first <= MIB
    for stream in (0, 1):
        assert numbered(lines).endswith(kept[stream])
        assert joined(host.all("a1", [stream]), stream) == kept[stream]
    assert on_disk(host.home.logs / "a1") <= MIB + 16 * KIB


async def test_a_reader_that_lags_is_told_what_it_missed(host: "Host") -> None:
    """The exact range that is gone, whatever it had open before, and from there on every byte."""
    go = host.control("go")
    script = 'seq 30000; read -r x < "$1"; seq 300000; read -r x < "$1"; seq 10'
    await host.shell("a1", script, str(go), max=MIB)
    expected = numbered(30000) + numbered(300000) + numbered(10)
    await host.log_reaches("a1", len(numbered(30000)))
    first = host.reader("a1").read(0, 1000)
    assert isinstance(first, Chunk)
    host.say(go, "\n")
    await host.log_reaches("a1", len(expected) - len(numbered(10)))
    rest = host.all("a1", offset=first.end)
    oldest = host.reader("a1").first()
    assert rest[0] == Gap(first.end, oldest, "dropped")
    host.say(go, "\n")
    await host.until(Closed, "a1")
    rest += host.all("a1", offset=rest[-1].end)
    assert first.data + expected[first.end : oldest] + joined(rest) == expected
    assert len(gaps(rest)) == 1


async def test_no_reader_sees_what_is_being_dropped(host: "Host") -> None:
    """Who reads where the log is being cut off gets bytes as they were written, or a gap: never zeros."""
    lines = 2_000_000
    expected = numbered(lines)
    await host.shell("a1", f"seq {lines}", max=SMALL)
    await host.log_reaches("a1", 1)
    reader, offset, missed = host.reader("a1"), 0, 0
    while offset < len(expected):
        found = reader.read(offset, 4096)
        if found is None:
            await host.log_reaches("a1", offset + 1)
        elif isinstance(found, Gap):
            assert (found.offset, found.reason) == (offset, "dropped")
            missed, offset = missed + 1, found.end
        else:
            assert found.offset == offset
            assert found.data == expected[offset : found.end]
            offset = found.end
    assert missed
    await host.until(Closed, "a1")


async def test_every_look_at_a_log_that_drops(host: "Host") -> None:
    """Whatever is asked while both streams flood a small log: nothing fails, goes backwards or mixes them up."""
    await host.shell("a1", "seq -f o%.0f 4000000 & seq -f e%.0f 2000000 >&2; wait", max=SMALL)
    await host.log_reaches("a1", 1)
    reader, size, offsets = host.reader("a1"), 0, [0, 0]
    while not host.of(Closed, "a1"):
        await asyncio.sleep(0)  # for the news
        assert size <= (size := reader.size())
        for stream, letter in enumerate((b"o", b"e")):
            found = reader.read(offsets[stream], 4096, [stream])
            if isinstance(found, Chunk):
                assert found.stream == stream
                assert not found.data.strip(letter + b"\n0123456789")
            offset = reader.passed(offsets[stream], [stream]) if found is None else found.end
            assert offset >= offsets[stream]
            offsets[stream] = offset
        for streams in ([0, 1], [0], [1]):
            for count in (1, 100):
                assert last_lines(reader, count, streams) <= reader.size()
        assert reader.since(time.time_ns() - 1_000_000) <= reader.size()
    assert reader.size() == host.of(Closed, "a1")[0].size


class Hand:
    """A log that is pumped by hand, in this process: one arrival for each write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ends = [os.pipe2(os.O_NONBLOCK) for _ in range(2)]
        self.log = self.open()
        self.written = [b"", b""]

    def open(self, bound: int = SMALL, newest: bool = True) -> pump_module.Log:
        readers = [reader for reader, _ in self.ends]
        self.log = pump_module.Log("a1", str(self.folder), readers, drops=False, bound=bound, newest=newest)
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
    """Each stream is cut where the border record says it was, be the last word the other's."""
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
    for number in range(60):
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
            pump_module.punch(out.fileno(), position)
    if state == "all":
        for name, length in (("err", offset - position), ("index", place * RECORD.size)):
            with (hand.folder / name).open("r+b") as file:
                pump_module.punch(file.fileno(), length)
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


CALLS = [("first", "openat", 1), ("first", "pwrite64", 1), ("first", "pwrite64", 2), ("first", "close", 1)]
CALLS += [("", "fallocate", number) for number in range(1, 6)]


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is needed")
@pytest.mark.parametrize(("file", "call", "number"), CALLS)
async def test_a_pump_killed_in_a_drop(host: "Host", file: str, call: str, number: int) -> None:
    """At each call of it: the next pump goes on, no byte that is kept is wrong, and the bound holds."""
    go = host.control("go")
    await host.shell("a1", 'read -r x < "$1"; seq 60000; seq 60000 >&2', str(go), max=SMALL)
    pump = host.link.hello["pump"]
    path = ["-P", str(host.home.logs / "a1" / file)] if file else []
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    command = ["strace", "-p", str(pump), *path, "-e", f"trace={call}", "-e", inject, "-o", "/dev/null"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:  # noqa: ASYNC220  # it does not wait
        assert strace.stderr is not None
        assert b"attached" in strace.stderr.readline()
        host.say(go, "\n")
        closed = await host.until(Closed, "a1")
        strace.kill()
    host.gone(pump)
    assert closed.size == 2 * len(numbered(60000))
    found = host.all("a1")
    assert gaps(found) == [Gap(0, closed.first, "dropped")]
    assert closed.size - closed.first <= SMALL
    kept = [joined(found, stream) for stream in (0, 1)]
    assert sum(map(len, kept)) == closed.size - closed.first
    assert all(numbered(60000).endswith(each) for each in kept)
    assert on_disk(host.home.logs / "a1") <= SMALL + 16 * KIB


async def test_killed_pump_loses_nothing_of_what_is_kept(host: "Host") -> None:
    """Under a bounded flood, again and again: offsets are those of the bytes, none twice, none out of order."""
    lines = 1_500_000
    expected = numbered(lines)
    await host.shell("a1", f"seq {lines} & seq {lines} >&2; wait", max=MIB)
    pump = kills = 0
    while kills < 8 and (size := host.reader("a1").size()) < 2 * len(expected):
        await host.log_reaches("a1", min(size + 1_500_000, 2 * len(expected)))
        pump = await host.kill_pump(pump)
        kills += 1
    assert kills >= 3
    closed = await host.until(Closed, "a1")
    assert closed.size == 2 * len(expected)
    found = host.all("a1")
    assert gaps(found) == [Gap(0, closed.first, "dropped")]
    kept = [joined(found, stream) for stream in (0, 1)]
    assert sum(map(len, kept)) == closed.size - closed.first <= MIB
    assert all(expected.endswith(each) for each in kept)


async def test_the_newest_are_refused(host: "Host") -> None:
    """The log holds the first bytes exactly, the job goes on, and one gap that grows tells how many were not kept."""
    expected = numbered(500_000)
    await host.finish("a1", "seq 500000; seq 500000 >&2", max=MIB, keep="oldest")
    closed = host.of(Closed, "a1")[0]
    assert (closed.size, closed.first, closed.truncated) == (2 * len(expected), 0, True)
    assert len(host.of(Truncated, "a1")) == 1
    found = host.all("a1")
    assert joined(found) == expected[:MIB]
    assert gaps(found) == [Gap(MIB, closed.size, "refused")]
    for streams in ([0], [1]):
        assert gaps(host.all("a1", streams)) == [Gap(MIB, closed.size, "refused")]
    assert (host.home.logs / "a1" / "index").stat().st_size < 100 * RECORD.size


async def test_a_full_log_stays_full(host: "Host") -> None:
    """A pump that comes later refuses as well, and what a killed one had counted is on the disk a moment later."""
    go = host.control("go")
    await host.shell("a1", 'seq 50000; read -r x < "$1"; echo more', str(go), max=SMALL, keep="oldest")
    size = len(numbered(50000))
    await host.log_reaches("a1", size)
    await host.kill_pump(0)
    host.say(go, "\n")
    closed = await host.until(Closed, "a1")
    assert (closed.size, closed.truncated) == (size + 5, True)
    assert gaps(host.all("a1")) == [Gap(SMALL, size + 5, "refused")]
    assert joined(host.all("a1")) == numbered(50000)[:SMALL]


def test_a_gap_is_told_by_as_many_records_as_it_takes(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """One record for each 4 GiB; the time is of the last arrival, as for bytes that are kept."""
    hand.open(newest=False)
    for _ in range(9):
        hand.arrive(b"x" * 8192)
    hand.log.settle()
    last = LogReader(hand.folder)
    before = last.last_arrival()
    hand.arrive(b"y" * 60, 1)
    hand.arrive(b"y" * 40, 0)
    assert last.last_arrival() == before
    hand.log.settle()
    assert last.last_arrival()[0] == before[0] + 100 == 9 * 8192 + 100
    assert last.last_arrival()[1] > before[1]
    monkeypatch.setattr(pump_module, "LONGEST", 8192 + 150)
    records = hand.log.records
    hand.arrive(b"z" * 120, 1)
    hand.log.settle()
    assert hand.log.records == records + 1
    assert [gap.end - gap.offset for gap in gaps(hand.read())] == [8192 + 150, 70]
    assert last.passed(0, [1]) == SMALL
    last.close()
    hand.log.close()
    hand.open(newest=False).open()
    assert hand.log.truncated, "it was before this pump"


def test_where_there_are_no_holes_the_newest_are_refused(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound holds in the other way, also where that comes as a surprise."""

    def refuse(file: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no holes here")

    monkeypatch.setattr(pump_module, "punch", refuse)
    for number in range(40):
        hand.arrive(b"%08d" % number * 512)
    hand.log.settle()
    found = hand.read()
    assert gaps(found)[-1].reason == "refused"
    assert gaps(found)[-1].end == 40 * 4096
    assert not pump_module.can_punch(str(hand.folder))


@pytest.fixture
def no_holes(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Mount a file system that refuses holes."""
    with contextlib.ExitStack() as stack:

        def mount(folder: Path) -> None:
            done = subprocess.run(["mount", "-t", "ramfs", "none", str(folder)], capture_output=True, check=False)
            if done.returncode:
                pytest.skip("no file system can be mounted here")
            stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)

        yield mount


async def test_the_keeper_says_how_the_bound_holds(cold_host: "Host", no_holes: Callable[[Path], None]) -> None:
    """Where the pump finds that there are no holes, `hello` says so and logs refuse the newest."""
    no_holes(cold_host.home.logs)
    await cold_host.connect()
    await cold_host.finish("a1", "seq 100000", max=SMALL)
    assert (await cold_host.ask("hello"))["punch"] is False
    size = len(numbered(100000))
    assert gaps(cold_host.all("a1")) == [Gap(SMALL, size, "refused")]
    assert cold_host.of(Closed, "a1")[0].truncated


async def test_the_bound_outlives_the_keeper(host: "Host") -> None:
    """A keeper that adopts a job has the log go on as it was."""
    go = host.control("go")
    started = await host.shell("a1", 'echo x; read -r x < "$1"; seq 50000', str(go), max=SMALL)
    await host.lines("a1")
    assert (await host.ask("hello"))["punch"] is True
    os.kill(host.pid, signal.SIGKILL)
    await host.until_lost()
    await host.link.dead()
    await host.connect()
    (pump,) = host.pumps()
    await host.ask("adopt", id="a1", pid=started.pid, start=started.start, ended=False, max=SMALL, keep="oldest")
    os.kill(pump, signal.SIGKILL)  # the next one is told by the keeper
    host.say(go, "\n")
    closed = await host.until(Closed, "a1")
    assert gaps(host.all("a1")) == [Gap(SMALL, closed.size, "refused")]
    assert closed.size == 2 + len(numbered(50000))
