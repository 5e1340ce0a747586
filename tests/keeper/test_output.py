"""The end of the output, and that no byte is lost, doubled or reordered when the pump is killed."""

import os
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.logs import numbered

from jobworker.host.journal import Closed, Ended

if TYPE_CHECKING:
    from tests.support.keeper_host import Host


async def test_grandchild_with_the_pipe_delays_closed_only(host: "Host") -> None:
    """Tell the end at once and the end of output when the last holder of the pipe is gone."""
    control = host.control("a1")
    await host.shell("a1", '(read -r x < "$1"; echo late; echo later >&2) & echo early', str(control))
    ended = await host.until(Ended, "a1")
    assert (ended.code, ended.left) == (0, True)
    await host.lines("a1")
    await host.ask("hello")
    assert not host.of(Closed, "a1")
    assert sorted(os.listdir(host.run / "fifo")) == ["a1.err", "a1.out"]
    host.say(control, "go\n")
    closed = await host.until(Closed, "a1")
    assert (closed.size, closed.truncated) == (len("early\nlate\nlater\n"), False)
    assert host.output("a1", 0) == b"early\nlate\n"
    assert host.output("a1", 1) == b"later\n"


async def test_job_that_closes_its_output_lives_on(host: "Host") -> None:
    """Tell the end of output before the end of a job that closed both streams."""
    control = host.control("a1")
    await host.shell("a1", 'echo bye; exec >&- 2>&-; read -r x < "$1"; exit 6', str(control))
    assert (await host.until(Closed, "a1")).size == 4
    assert not host.of(Ended, "a1")
    host.say(control, "go\n")
    assert (await host.until(Ended, "a1")).code == 6


async def test_stream_closed_alone_does_not_end_the_output(host: "Host") -> None:
    """Go on with one stream after the other was closed."""
    control = host.control("a1")
    await host.shell("a1", 'echo x >&2; exec 2>&-; read -r x < "$1"; echo y', str(control))
    await host.lines("a1", stream=1)
    host.say(control, "go\n")
    assert (await host.until(Closed, "a1")).size == 4
    assert host.output("a1") == b"y\n"


async def test_closed_size_is_what_was_written(host: "Host") -> None:
    """Count the bytes of both streams."""
    await host.finish("a1", "head -c 1000003 /dev/zero; head -c 70001 /dev/zero >&2")
    closed = host.of(Closed, "a1")[0]
    assert closed.size == 1_070_004
    assert host.reader("a1").size() == 1_070_004
    assert (len(host.output("a1", 0)), len(host.output("a1", 1))) == (1_000_003, 70_001)


async def test_silent_job_leaves_no_log(host: "Host") -> None:
    """A job that writes nothing gets no log folder, and its FIFOs are removed."""
    await host.finish("a1", "exit 0")
    assert host.of(Closed, "a1")[0].size == 0
    assert not (host.home.logs / "a1").exists()
    await host.ask("hello")
    assert os.listdir(host.run / "fifo") == []


async def test_log_is_private(host: "Host") -> None:
    """Keep logs and FIFOs from everybody else."""
    await host.shell("a1", "umask 0; echo x; kill -STOP $$")
    await host.lines("a1")
    folder = host.home.logs / "a1"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()} == {
        "out": 0o600,
        "err": 0o600,
        "index": 0o600,
    }
    assert (host.run / "fifo").stat().st_mode & 0o777 == 0o700


async def test_killed_pump_loses_no_byte_of_a_flood(host: "Host") -> None:
    """Lose, double and reorder nothing while the pump is killed again and again under two floods."""
    keeper, lines = host.pid, 1_500_000
    expected = numbered(lines)
    for job in ("a1", "a2"):
        await host.shell(job, f"seq {lines} & seq {lines} >&2; wait")
    pump = kills = 0
    while kills < 8 and (size := host.reader(job := "a1" if kills % 2 else "a2").size()) < 2 * len(expected):
        await host.log_reaches(job, min(size + 300_000, 2 * len(expected)))
        pump = await host.kill_pump(pump)
        kills += 1
    assert kills >= 3
    for job in ("a1", "a2"):
        closed = await host.until(Closed, job)
        assert closed.size == host.reader(job).size() == 2 * len(expected)
        for stream in (0, 1):
            assert host.output(job, stream) == expected
        assert (await host.until(Ended, job)).code == 0
    assert (await host.ask("hello"))["pid"] == keeper


async def test_killed_pump_loses_no_byte_of_small_writes(host: "Host") -> None:
    """Lose, double and reorder nothing of tiny writes to both streams in turn."""
    lines = 200_000
    expected = numbered(lines)
    script = f"i=1; while [ $i -le {lines} ]; do echo $i; echo $i >&2; i=$((i+1)); done"
    await host.shell("a1", script)
    pump = kills = 0
    while kills < 6 and (size := host.reader("a1").size()) + 1000 < 2 * len(expected):
        await host.log_reaches("a1", size + 1000)
        pump = await host.kill_pump(pump)
        kills += 1
    assert kills >= 3
    closed = await host.until(Closed, "a1")
    assert closed.size == 2 * len(expected)
    assert host.output("a1", 0) == host.output("a1", 1) == expected


async def test_output_of_a_job_that_ends_without_a_pump_is_kept(host: "Host") -> None:
    """Keep what is in the pipes of a job that ended while no pump took anything."""
    os.kill(host.link.hello["pump"], signal.SIGSTOP)
    await host.shell("a1", "echo out; echo err >&2; exit 2")
    assert (await host.until(Ended, "a1")).code == 2
    await host.kill_pump(0)
    assert (await host.until(Closed, "a1")).size == 8
    assert (host.output("a1", 0), host.output("a1", 1)) == (b"out\n", b"err\n")


async def test_stopped_pump_delays_neither_launch_nor_end(host: "Host") -> None:
    """Launch, signal and reap many jobs while the pump does nothing; move their output when it can."""
    pump = host.link.hello["pump"]
    os.kill(pump, signal.SIGSTOP)
    try:
        for number in range(150):
            await host.shell(f"j{number}", f"echo {number}; exit {number % 200}")
        for number in range(150):
            assert (await host.until(Ended, f"j{number}")).code == number % 200
    finally:
        os.kill(pump, signal.SIGCONT)
    for number in range(150):
        await host.until(Closed, f"j{number}")
        assert host.output(f"j{number}") == b"%d\n" % number


async def test_idle_pump_that_dies_is_replaced(host: "Host") -> None:
    """Start another pump, with the same keeper, and serve jobs launched after it."""
    first = host.link.hello["pump"]
    await host.kill_pump(0)
    host.gone(first)
    assert (await host.finish("a1", "echo x")).code == 0
    assert host.output("a1") == b"x\n"
    hello = await host.ask("hello")
    assert hello["pid"] == host.pid
    assert hello["pump"] not in (0, first)
    assert host.pumps() == {hello["pump"]}


async def test_full_disk_delays_output_and_loses_nothing(host: "Host") -> None:
    """Leave the bytes in the pipe while the log cannot be written, and move them once it can."""
    await host.finish("a0", "exit 0")  # by now the pump has set limits of its own
    pump = host.link.hello["pump"]
    _, hard = resource.prlimit(pump, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    await host.shell("a1", "seq 100000; seq 100000 >&2")
    await host.log_reaches("a1", 100_000)
    await host.finish("a2", "exit 0")
    assert not host.of(Ended, "a1")
    resource.prlimit(pump, resource.RLIMIT_FSIZE, (hard, hard))
    await host.until(Closed, "a1")
    assert host.output("a1", 0) == host.output("a1", 1) == numbered(100_000)
    assert (await host.ask("hello"))["pump"] == pump


async def test_pump_that_cannot_be_started_is_started_later(host: "Host") -> None:
    """The keeper runs on if no pump can be started, and starts one when that is possible again."""
    keeper = host.pid
    started = await host.shell("a1", "echo one; kill -STOP $$; echo two")
    await host.lines("a1")
    _, hard = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (3, hard))
    os.kill(host.link.hello["pump"], signal.SIGKILL)
    host.gone(host.link.hello["pump"])
    await host.ask("signal", id="never", target="main", signal=0)  # by now it has tried
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (hard, hard))
    host.resume(started.pid)
    assert (await host.until(Closed, "a1")).size == 8
    assert (await host.ask("hello"))["pid"] == keeper


@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 200_000])
async def test_sizes_around_a_chunk(host: "Host", tmp_path: Path, size: int) -> None:
    """Move outputs whose size is at the edge of a pipe."""
    data = os.urandom(size)
    (tmp_path / "data").write_bytes(data)
    await host.finish("a1", 'cat "$1"', str(tmp_path / "data"))
    assert host.output("a1") == data
    assert host.of(Closed, "a1")[0].size == size
