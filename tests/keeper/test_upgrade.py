"""A keeper is replaced by its next version in place: no child, status, byte or request is lost."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.keeper_copy import copy_keeper

from jobworker.host import keeper_link, keeper_process
from jobworker.host.journal import Closed, Ended, Started

if TYPE_CHECKING:
    from tests.support.keeper_host import Host


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The keeper and the pump of another version, as an agent of that version would have them."""
    keeper = copy_keeper(tmp_path / "newer")
    monkeypatch.setattr(keeper_process, "KEEPER", keeper)
    return keeper.parents[1]


def command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


async def test_children_outlive_an_upgrade(host: "Host", newer: Path) -> None:
    """Codes and signals are exact, also of a job that ends while there is no keeper; output goes on."""
    go = host.control("go")
    coded = await host.shell("a1", f"echo before; read _ < {go}; echo after; exit 42")
    signalled = await host.shell("a2", "exec sleep 1000")
    pid, pump = host.pid, host.link.hello["pump"]
    host.link.close()
    await host.connect()
    assert host.pid == pid
    assert str(newer / "keeper" / "__main__.py") in command_of(pid)
    assert host.link.hello["pump"] != pump
    assert str(newer / "pump" / "__main__.py") in command_of(host.link.hello["pump"])
    host.say(go, "\n")
    assert (await host.until(Ended, "a1")).code == 42
    await host.until(Closed, "a1")
    assert host.output("a1") == b"before\nafter\n"
    answer = await host.ask("signal", id="a2", target="main", signal=signal.SIGUSR1, pids=[])
    assert answer["delivered"] == 1
    assert (await host.until(Ended, "a2")).signal == signal.SIGUSR1
    assert (coded.pid, signalled.pid) == (host.of(Started, "a1")[0].pid, host.of(Started, "a2")[0].pid)
    assert (await host.finish("a3", "exit 3")).code == 3


async def test_adopted_jobs_outlive_an_upgrade(host: "Host", newer: Path) -> None:
    """What the keeper had taken over from a dead one is held on, and so is its output."""
    go = host.control("go")
    started = await host.shell("a1", f"read _ < {go}; echo after; exec sleep 1000")
    os.kill(host.pid, signal.SIGKILL)
    await host.until_lost()
    await host.link.dead()
    for _ in range(2):  # the second upgrade hands on what was taken over
        await host.connect()
        answer = await host.ask("adopt", id="a1", pid=started.pid, start=started.start, ended=False)
        assert answer["held"]
        with (newer / "linux" / "proc.py").open("a") as file:
            file.write("# newest\n")
        host.link.close()
    await host.connect()
    host.say(go, "\n")
    assert await host.lines("a1") == ["after"]
    await host.signal_all("a1", started.pid, signal.SIGKILL)
    await host.until(Closed, "a1")


async def test_an_upgrade_that_fails(host: "Host", newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the next version cannot be executed, the keeper stays as it is."""
    pid = host.pid
    monkeypatch.setattr(keeper_link, "keeper_command", lambda *_: ["/nowhere/python"])
    host.link.close()
    await host.connect()
    assert host.pid == pid
    assert str(newer / "keeper" / "__main__.py") not in command_of(pid)
    assert (await host.finish("a1", "echo on; exit 4")).code == 4
    assert host.output("a1") == b"on\n"
