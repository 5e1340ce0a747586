"""A bounded log: how many bytes are kept, which ones, what readers get, and what a killed pump leaves."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.logs import KIB, MIB, SMALL, gaps, joined, numbered, on_disk

from jobworker.formats.log_index import RECORD
from jobworker.host.journal import Closed, Truncated
from jobworker.logs.reader import Chunk, Gap
from jobworker.logs.tail import last_lines

if TYPE_CHECKING:
    from tests.support.keeper_host import Host


async def test_the_newest_are_kept(host: "Host") -> None:
    """Of twenty times the bound exactly the bound is left, at its old offsets, and no more on the disk."""
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
    assert closed.size - closed.first == MIB
    found = host.all("a1")
    assert found[0] == Gap(0, closed.first, "dropped")
    assert joined(found) == expected[closed.first :]
    assert on_disk(host.home.logs / "a1") <= MIB + 8 * KIB  # a block more where each stream begins
    assert not host.of(Truncated, "a1")


@pytest.mark.parametrize(("more", "first"), [(-100, 0), (0, 0), (1, 1), (70_000, 70_000)])
async def test_a_log_that_fits_keeps_its_beginning(host: "Host", more: int, first: int) -> None:
    """Up to the bound nothing is dropped, and beyond it not a byte more than exceeds it."""
    lines = numbered(200_000)[: MIB + more]
    await host.finish("a1", f"seq 200000 | head -c {MIB + more}", max=MIB)
    closed = host.of(Closed, "a1")[0]
    assert (closed.size, closed.first) == (MIB + more, first)
    found = host.all("a1")
    assert joined(found) == lines[first:]
    assert gaps(found) == ([Gap(0, first, "dropped")] if first else [])
    assert on_disk(host.home.logs / "a1") <= MIB + 8 * KIB
    reader = host.reader("a1")
    assert last_lines(reader, 10**9, [0]) == last_lines(reader, 10**9, [0, 1]) == first


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


async def test_a_reader_that_lags_gets_the_gap(host: "Host") -> None:
    """A slow reader gets the exact range that was dropped, and every byte after it."""
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
    """A reader at the place that is being dropped gets bytes as they were written, or a gap; never zeros."""
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


CALLS = [("", "openat2", 6), ("first", "pwrite64", 1), ("first", "pwrite64", 2), ("first", "close", 1)]
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
    """The log has exactly the first bytes, the job runs on, and one growing gap counts the refused bytes."""
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


async def test_hello_has_how_the_bound_holds(cold_host: "Host", no_holes: Callable[[Path], None]) -> None:
    """If the file system has no holes, `hello` has that, and logs refuse the newest bytes."""
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
