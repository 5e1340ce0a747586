"""The input of a job: each byte once and in order, and its end after the last one, whatever is killed."""

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.keeper_copy import copy_keeper
from tests.support.waiting import ends, grown, until

from jobworker.formats.spool import SEGMENT, spool_paths
from jobworker.host import keeper_process
from jobworker.host.journal import Closed, Ended, InputEnd, Started
from jobworker.host.spool import open_spool

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

BYTES = 3 * SEGMENT + 12_345  # each file of the spool is used twice
PIECE = 50_000


async def feed(host: "Host", job: str, data: bytes, upto: int = BYTES) -> None:
    """Append data to the input of a job, from where it ends now, as an agent does."""
    with open_spool(str(host.home.path), job) as spool:
        assert spool is not None
        end, _ = spool.accepted()
        while end < upto:
            await grown(host.home.path, host.home.input, lambda at=end: spool.has_room(at) or None)  # type: ignore[misc]
            end += spool.append(memoryview(data)[end : min(end + PIECE, upto)], end)


def close(host: "Host", job: str) -> None:
    with open_spool(str(host.home.path), job) as spool:
        assert spool is not None
        spool.close_input()


async def adopt(host: "Host", job: str) -> None:
    """Have the next keeper take over a job, after the death of the one before."""
    await host.until_lost()
    await host.link.dead()
    await host.connect()
    started = host.of(Started, job)[0]
    answer = await host.ask("adopt", id=job, pid=started.pid, start=started.start, ended=False, stdin="pipe")
    assert answer["held"]


def holds(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    folder = f"/proc/{pid}/fd"
    return any(os.readlink(f"{folder}/{fd}") == str(path) for fd in os.listdir(folder))


def upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_process, "KEEPER", copy_keeper(tmp_path / "newer"))


async def test_nothing_is_left_behind(host: "Host") -> None:
    """The spool and the FIFO are removed when the input has ended and the job with it."""
    await host.shell("a1", "cat; echo over", stdin="pipe")
    assert sorted(os.listdir(host.run / "fifo")) == ["a1.err", "a1.in", "a1.out"]
    await feed(host, "a1", b"hello\n", 6)
    close(host, "a1")
    ended = await host.until(InputEnd, "a1")
    assert (ended.how, ended.accepted) == ("closed", 6)
    assert (await host.until(Ended, "a1")).stdin_unread == 0
    await host.until(Closed, "a1")
    assert host.output("a1") == b"hello\nover\n"
    assert os.listdir(host.home.input) == []
    assert os.listdir(host.run / "fifo") == []


async def test_the_pump_dies_again_and_again(host: "Host") -> None:
    """No byte is lost or doubled when the pump is killed in the middle, at any moment."""
    data = random.Random(7).randbytes(BYTES)
    await host.shell("a1", "cat", stdin="pipe")
    feeding = asyncio.create_task(feed(host, "a1", data))
    pump = 0
    while not feeding.done():
        pump = await host.kill_pump(pump)
        await host.ask("hello")
    await feeding
    close(host, "a1")
    closed = await host.until(Closed, "a1")
    assert closed.size == BYTES
    assert host.output("a1") == data


async def test_the_keeper_dies(host: "Host") -> None:
    """The pump goes on alone; it gives the input to the next keeper, which can lose that pump in turn."""
    data = random.Random(8).randbytes(BYTES)
    await host.shell("a1", "cat", stdin="pipe")
    await feed(host, "a1", data, SEGMENT // 2)
    os.kill(host.pid, signal.SIGKILL)
    await feed(host, "a1", data, SEGMENT + 1)
    await adopt(host, "a1")
    await until(lambda: holds(host.pid, host.run / "fifo" / "a1.in"))
    await host.kill_pump(0)
    await feed(host, "a1", data)
    close(host, "a1")
    assert (await host.until(Closed, "a1")).size == BYTES
    assert host.output("a1") == data
    assert (await host.until(InputEnd, "a1")).how == "closed"


async def test_an_end_while_there_is_no_keeper(host: "Host") -> None:
    """The job reads the end at once, and the next keeper learns of it."""
    await host.shell("a1", "cat; echo over; exec >&-; exec sleep 1000", stdin="pipe")
    os.kill(host.pid, signal.SIGKILL)
    await feed(host, "a1", b"x\n", 2)
    close(host, "a1")
    assert await host.lines("a1", 2) == ["x", "over"]
    await adopt(host, "a1")
    ended = await host.until(InputEnd, "a1")
    assert (ended.how, ended.accepted) == ("closed", 2)


async def test_an_upgrade_with_open_input(host: "Host", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next version of keeper and pump goes on at the exact byte."""
    data = random.Random(9).randbytes(BYTES)
    await host.shell("a1", "cat", stdin="pipe")
    await feed(host, "a1", data, SEGMENT + 77)
    upgrade(tmp_path, monkeypatch)
    host.link.close()
    await host.connect()
    await feed(host, "a1", data)
    close(host, "a1")
    assert (await host.until(Closed, "a1")).size == BYTES
    assert host.output("a1") == data


async def test_keeper_and_pump_die_together(host: "Host") -> None:
    """It is not known how much the job was given: its input ends, and that is recorded, not guessed."""
    await host.shell("a1", "cat; echo over; exec sleep 1000", stdin="pipe")
    await feed(host, "a1", b"x\n", 2)
    await host.lines("a1")
    (pump,) = host.pumps()
    os.kill(host.pid, signal.SIGKILL)
    os.kill(pump, signal.SIGKILL)
    assert ends(pump)
    await adopt(host, "a1")
    assert (await host.until(InputEnd, "a1")).how == "lost"
    assert await host.lines("a1", 2) == ["x", "over"]
    assert not any(map(os.path.exists, spool_paths(str(host.home.path), "a1")))


async def test_a_job_that_ends_with_unread_input(host: "Host") -> None:
    """What is in the spool and in the pipe is counted, also of an input that was closed."""
    await host.shell("a1", "read x; read y; exit 3", stdin="pipe")
    await feed(host, "a1", b"a\n" + bytes(SEGMENT), SEGMENT)
    close(host, "a1")
    with open_spool(str(host.home.path), "a1") as spool:
        assert spool is None or spool.accepted() == (SEGMENT, True)  # None: the job has ended
    ended = await host.until(Ended, "a1")
    assert ended.stdin_accepted == SEGMENT
    assert ended.stdin_unread == 0  # `read y` has looked for the end of its line up to the end of the input
    await host.shell("a2", "read x; echo $x; exec sleep 1000", stdin="pipe")
    await feed(host, "a2", b"ab\nc", 4)
    close(host, "a2")
    await host.until(InputEnd, "a2")
    assert await host.lines("a2") == ["ab"]
    await host.ask("signal", id="a2", target="main", signal=signal.SIGKILL, pids=[])
    assert (await host.until(Ended, "a2")).stdin_unread == 1


async def test_the_job_alone_reads(host: "Host") -> None:
    """The job's stdin is the read end only: with its last reader gone, the input ends as broken."""
    started = await host.shell("a1", "readlink /proc/self/fd/0; read x; exec sleep 1000 <&-", stdin="pipe")
    assert await host.lines("a1") == [str(host.run / "fifo" / "a1.in")]
    flags = Path(f"/proc/{started.pid}/fdinfo/0").read_text().split()[3]
    assert int(flags, 8) & (os.O_ACCMODE | os.O_NONBLOCK) == os.O_RDONLY
    await feed(host, "a1", b"a\nrest", 6)
    ended = await host.until(InputEnd, "a1")
    assert (ended.how, ended.accepted) == ("broken", 6)
    await host.ask("signal", id="a1", target="main", signal=signal.SIGKILL, pids=[])
    assert (await host.until(Ended, "a1")).stdin_unread == len("rest")


async def test_other_jobs_hold_no_write_end(host: "Host") -> None:
    """Jobs that are started meanwhile do not keep the input of this one open."""
    await host.shell("a1", "cat; echo over", stdin="pipe")
    await host.shell("a2", "exec sleep 1000")
    await host.shell("a3", "exec sleep 1000", stdin="pipe")
    close(host, "a1")
    assert (await host.until(Ended, "a1")).code == 0
    await host.until(Closed, "a1")
    assert host.output("a1") == b"over\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a job as another user")
async def test_another_user_opens_its_stdin_again(host: "Host") -> None:
    """`/dev/stdin` works for a job that runs as another user."""
    user = {"uid": 1, "gid": 1, "groups": []}
    await host.shell("a1", "cat /dev/stdin", stdin="pipe", user=user)
    await feed(host, "a1", b"again\n", 6)
    close(host, "a1")
    assert (await host.until(Ended, "a1")).code == 0
    await host.until(Closed, "a1")
    assert host.output("a1") == b"again\n"
