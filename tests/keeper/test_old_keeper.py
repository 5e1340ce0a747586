"""The keeper that was one file, with jobs running, is replaced by today's in place."""

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker.host import keeper_process
from jobworker.host.journal import Closed, Ended, Started

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

ROOT = Path(__file__).parents[2]
SINGLE_FILES = "94e6bbf"  # the last commit in which keeper and pump were a file each


def show(name: str) -> str:
    """Return a file as it was in that commit; skip the test if this is no clone that has it."""
    command = ["git", "-C", str(ROOT), "show", f"{SINGLE_FILES}:agent/jobworker/runtime/{name}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    if shown.returncode:
        pytest.skip(f"the history is not here: {shown.stderr.strip()}")
    return shown.stdout


@pytest.fixture
async def old_host(cold_host: "Host", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Host":
    """A home whose keeper and pump are those of the old commit."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for name in ("keeper.py", "pump.py"):
        (folder / name).write_text(show(name))
    with monkeypatch.context() as old:
        old.setattr(keeper_process, "KEEPER", folder / "keeper.py")
        old.setattr(keeper_process, "checksum", lambda _: cold_host.link.hello.get("code"))
        await cold_host.connect()
    return cold_host


async def test_children_outlive_it(old_host: "Host") -> None:
    """Process, exit status, cgroup and output of each job go on; a namespace's job too."""
    go = old_host.control("go")
    coded = await old_host.shell("a1", f"echo before; read _ < {go}; echo after; exit 42")
    struck = await old_host.shell("a2", "sleep 1000 & exec sleep 1000")
    namespaced = bool(old_host.link.hello["namespace"])
    if namespaced:
        await old_host.shell("a3", f"read _ < {go}; exit 7", namespace=True)
    pid, group = old_host.pid, old_host.group
    old_host.link.close()
    await old_host.connect()
    assert old_host.pid == pid
    command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert str(keeper_process.KEEPER) in command
    for _ in range(1 + namespaced):
        old_host.say(go, "\n")
    assert (await old_host.until(Ended, "a1")).code == 42
    await old_host.until(Closed, "a1")
    assert old_host.output("a1") == b"before\nafter\n"
    if namespaced:
        assert (await old_host.until(Ended, "a3")).code == 7
    if group:
        assert await old_host.signal_all("a2", struck.pid, signal.SIGKILL) == 2
        assert (await old_host.until(Ended, "a2")).signal == signal.SIGKILL
        assert not Path(group, "a1").exists(), "its cgroup is removed"
    assert old_host.of(Started, "a1")[0].pid == coded.pid
    assert (await old_host.finish("a4", "exit 3")).code == 3
