"""A job with merged streams: one pipe and one order, also if keeper, pump or agent dies in between."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.keeper_copy import copy_keeper

from jobworker.host import keeper_process
from jobworker.host.journal import Closed, Ended, StartFailed

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

ALTERNATE = "i=1; while [ $i -le {0} ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"


def alternating(count: int) -> bytes:
    return b"".join(b"o%d\ne%d\n" % (number, number) for number in range(1, count + 1))


async def test_the_order_is_exact(host: "Host") -> None:
    """What goes to one stream and then to the other is read in that order, as stdout; there is one FIFO."""
    await host.shell("a1", 'ls "$1"; ' + ALTERNATE.format(5000), str(host.run / "fifo"), merge=True)
    closed = await host.until(Closed, "a1")
    expected = b"a1.out\n" + alternating(5000)
    assert closed.size == len(expected)
    assert host.output("a1") == expected
    assert host.output("a1", 1) == b""
    await host.ask("hello")
    assert os.listdir(host.run / "fifo") == []


async def test_by_name(host: "Host") -> None:
    """Either stream can be opened by its name, and closing one of them does not end the other."""
    await host.finish("a1", "echo a > /dev/stderr; echo b > /dev/stdout; exec >&-; echo c >&2", merge=True)
    assert host.output("a1") == b"a\nb\nc\n"


async def test_killed_pumps_keep_the_order(host: "Host") -> None:
    """Again and again under alternating writes: every byte once, in order."""
    expected = alternating(60_000)
    await host.shell("a1", ALTERNATE.format(60_000), merge=True)
    pump = kills = 0
    while kills < 6 and (size := host.reader("a1").size()) + 1000 < len(expected):
        await host.log_reaches("a1", size + 1000)
        pump = await host.kill_pump(pump)
        kills += 1
    assert kills >= 3
    assert (await host.until(Closed, "a1")).size == len(expected)
    assert host.output("a1") == expected


async def test_adopted_and_handed_on(host: "Host", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper that takes it over, the version that comes after that, and their pumps know of the one pipe."""
    go = host.control("go")
    started = await host.shell("a1", f"echo a; read _ < {go}; echo b >&2; echo c; exit 4", merge=True)
    await host.lines("a1")
    os.kill(host.pid, signal.SIGKILL)
    await host.until_lost()
    await host.link.dead()
    await host.connect()
    adopt = {"id": "a1", "pid": started.pid, "start": started.start, "ended": False, "merge": True}
    assert (await host.ask("adopt", **adopt))["held"]
    await host.kill_pump(0)
    monkeypatch.setattr(keeper_process, "KEEPER", copy_keeper(tmp_path / "newer"))
    host.link.close()
    await host.connect()
    host.say(go, "\n")
    assert (await host.until(Closed, "a1")).size == 6
    assert host.output("a1") == b"a\nb\nc\n"


async def test_a_launch_that_fails(host: "Host") -> None:
    """Nothing is left of its pipe, and the next job is served."""
    await host.launch("a1", "/no/such/program", merge=True)
    await host.until(StartFailed, "a1")
    assert os.listdir(host.run / "fifo") == []
    assert (await host.finish("a1", "echo on >&2; exit 5", merge=True)).code == 5
    assert host.output("a1") == b"on\n"
    assert host.of(Ended, "a1")
