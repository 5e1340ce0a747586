"""One state folder for two hosts, and one folder that is a copy of another: no process of the other is touched."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from jobworker.client import local
from jobworker.errors import StartError
from jobworker.paths import Home
from jobworker.testing import RunningAgent

OTHER_BOOT = "00000000-1111-2222-3333-444444444444"


@pytest.fixture
async def elsewhere(home: Home, tmp_path: Path) -> AsyncIterator[RunningAgent]:
    """An agent that takes itself for one of another host: its name and its boot id are others."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another host")
    boot = tmp_path / "boot_id"
    boot.write_text(f"{OTHER_BOOT}\n")
    become = f'hostname node-b; mount --bind {boot} /proc/sys/kernel/random/boot_id; exec "$@"'
    agent = RunningAgent(home, under=["unshare", "-m", "-u", "sh", "-ec", become, "sh"])
    agent.start()
    yield agent
    async with agent.client() as client:
        await client.call("agent.shutdown", jobs="stop")
    assert agent.process is not None
    await asyncio.to_thread(agent.process.wait, 20)


def test_an_agent_of_another_host(elsewhere: RunningAgent) -> None:
    """It is named by host and pid; nothing here is signalled, and no second agent starts."""
    home = elsewhere.home
    with pytest.raises(StartError, match="'node-b'") as refused:
        local.agent_pid(home)
    assert f"pid {elsewhere.pid} " in refused.value.message
    with pytest.raises(StartError):
        local.signal_agent(home, signal.SIGTERM)
    for words in (["agent", "start"], ["agent", "stop"], ["run", "--", "true"], ["cert", "renew"]):
        said = elsewhere.jw(*words)
        assert said.returncode in (6, 125), said.stdout
        assert "of another host" in said.stderr
        assert "run jw on node-b" in said.stderr
    command = [sys.executable, "-m", "jobworker", "--home", str(home.path), "--local"]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "node-b" in second.stderr
    assert elsewhere.process is not None
    assert elsewhere.process.poll() is None


@pytest.mark.parametrize("without", [[], ["agent.lock", "keeper.lock", "agent.json"]], ids=["whole", "data alone"])
async def test_a_copy(home: Home, tmp_path: Path, start: Callable[..., RunningAgent], without: list[str]) -> None:
    """A copy beside its original loses the jobs that run there, names it, and touches none of their processes."""
    first = start()
    ran = first.jw("run", "--detach", "--name", "kept", "--", "sh", "-c", "trap '' TERM; echo up; sleep 600 & wait")
    assert ran.returncode == 0, ran.stderr
    before = json.loads(first.jw("status", "kept", "--json").stdout)
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.path, copy.path, symlinks=True, copy_function=shutil.copy2)
    for name in without:
        (copy.path / name).unlink()
    second = RunningAgent(copy)
    second.start()
    try:
        shown = json.loads(second.jw("status", "kept", "--json").stdout)
        assert shown["state"] == "lost"
        assert f"a copy of {home.path}" in shown["exit"]["message"]
        assert f"copy of {home.path}" in copy.agent_log.read_text()
        assert second.jw("run", "--", "echo", "new").stdout == "new\n"
    finally:
        await second.clean()
    after = json.loads(first.jw("status", "kept", "--json").stdout)
    assert (after["state"], after["pid"]) == ("running", before["pid"])


@pytest.mark.parametrize("left", ["jobs", "jobs and keeper"])
async def test_a_folder_that_was_moved(home: Home, tmp_path: Path, left: str) -> None:
    """A folder that was renamed while its agent did not run is no copy: its jobs are adopted and run on."""
    first = RunningAgent(home)
    first.start()
    assert first.jw("run", "--detach", "--name", "kept", "--", "sleep", "600").returncode == 0
    pid = json.loads(first.jw("status", "kept", "--json").stdout)["pid"]
    keeper = json.loads(first.jw("agent", "info", "--json").stdout)["keeper"]["pid"]
    first.end()
    if left == "jobs":
        os.kill(keeper, signal.SIGKILL)  # its sockets are where the old name says
        assert local.wait_gone(keeper, 20)
    home.path.rename(tmp_path / "moved")
    second = RunningAgent(Home(tmp_path / "moved"))
    second.start()
    try:
        shown = json.loads(second.jw("status", "kept", "--json").stdout)
        assert (shown["state"], shown["pid"]) == ("running", pid)
    finally:
        await second.clean()
