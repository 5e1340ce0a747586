"""An agent finds the keeper that runs by its lock, wherever its sockets are."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker.host import keeper_link
from jobworker.host.journal import Closed, Ended

if TYPE_CHECKING:
    from tests.support.keeper_host import Host


async def test_a_keeper_with_another_run_folder(cold_host: "Host", tmp_path: Path) -> None:
    """After an upgrade that prefers another place, the keeper with running jobs is the one that is connected to."""
    place, before = cold_host.run, tmp_path / "jobworker-before"
    before.mkdir(mode=0o700)
    cold_host.run = before
    await cold_host.connect()
    go = cold_host.control("go")
    await cold_host.shell("a1", f"read _ < {go}; echo out; exit 42")
    pid = cold_host.pid
    cold_host.link.close()
    cold_host.run = place
    await cold_host.connect()
    assert cold_host.pid == pid
    assert not (place / "keeper.sock").exists()
    cold_host.say(go, "\n")
    await cold_host.until(Closed, "a1")
    assert (await cold_host.until(Ended, "a1")).code == 42
    assert cold_host.output("a1") == b"out\n"
    assert (await cold_host.finish("a2", "exit 3")).code == 3
    assert "fifo" in os.listdir(before)


async def test_a_keeper_that_never_says_hello(host: "Host", monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed after a while, and the next one takes over its jobs."""
    started = await host.shell("a1", "exec sleep 600")
    pid = host.pid
    host.link.close()
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(keeper_link, "HELLO_SECONDS", 0.5)
    with pytest.raises(keeper_link.KeeperGone):
        await host.connect()
    assert host.lost == 1
    await host.link.dead()
    monkeypatch.undo()
    await host.connect()
    assert host.pid != pid
    answer = await host.ask("adopt", id="a1", pid=started.pid, start=started.start, ended=False, group=started.group)
    assert answer["held"]
    assert not answer["gone"]
