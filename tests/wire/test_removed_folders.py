"""Folders that a cleaner removed under a running agent are made again: jobs go on, and new ones start."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.stranger import as_stranger
from tests.support.waiting import until

from jobworker.host.keeper_process import find_keeper
from jobworker.linux.cgroupfs import find_hierarchy
from jobworker.linux.proc import group_of
from jobworker.model import JobSpec
from jobworker.paths import Home
from jobworker.testing import RunningAgent

DEADLINE = 20.0


async def test_the_folder_of_all_logs(agent: RunningAgent) -> None:
    """A job that starts afterwards has a log, and a reader that follows it gets its output while the job runs."""
    go = agent.home.path / "go"
    go.mkdir()
    shutil.rmtree(agent.home.logs)
    async with agent.client() as client, asyncio.timeout(DEADLINE):
        script = f"while [ -d {go} ]; do sleep 0.05; done; echo late; exec sleep 600"
        output = await client.run(JobSpec(argv=["sh", "-c", script]))
        go.rmdir()
        async for chunk in output:
            assert chunk.data == b"late\n"
            break
        await client.stop(output.job.id)


def run_folder(agent: RunningAgent) -> Path:
    """Return the run folder of the agent's keeper, as its command line has it."""
    found = find_keeper(agent.home)
    assert found is not None
    return found[1]


async def test_the_run_folder_under_a_running_agent(agent: RunningAgent) -> None:
    """The job that runs goes on with its output, new ones start, and the next agent adopts all of them."""
    assert agent.jw("run", "--detach", "--name", "old", "--", "sh", "-c", "read x; echo $x; exec sleep 600")
    run = run_folder(agent)
    shutil.rmtree(run)
    ran = agent.jw("run", "--", "echo", "new")
    assert (ran.returncode, ran.stdout) == (0, "new\n"), ran.stderr
    assert agent.jw("run", "--detach", "--name", "later", "--", "sleep", "600").returncode == 0
    pids = [json.loads(agent.jw("status", name, "--json").stdout)["pid"] for name in ("old", "later")]
    shutil.rmtree(run)
    keeper = find_keeper(agent.home)
    agent.kill()
    agent.start()
    assert find_keeper(agent.home) == keeper
    shown = [json.loads(agent.jw("status", name, "--json").stdout) for name in ("old", "later")]
    assert [(job["state"], job["pid"]) for job in shown] == [("running", pid) for pid in pids]
    assert agent.jw("run", "--", "echo", "again").stdout == "again\n"


async def test_a_pump_that_dies_without_the_run_folder(agent: RunningAgent) -> None:
    """The next pump has a socket, and the output goes on."""
    go = agent.home.path / "go"
    go.mkdir()
    script = f"while [ -d {go} ]; do sleep 0.05; done; echo late"
    assert agent.jw("run", "--detach", "--name", "kept", "--", "sh", "-c", script).returncode == 0
    pump = json.loads(agent.jw("agent", "info", "--json").stdout)["keeper"]["pump"]
    shutil.rmtree(run_folder(agent))
    os.kill(pump, signal.SIGKILL)
    go.rmdir()
    assert agent.jw("logs", "--follow", "kept").stdout == "late\n"


@pytest.fixture
async def close_agent() -> AsyncIterator[RunningAgent]:
    """An agent whose state folder has a short path: that of a socket has room for 107 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        agent = RunningAgent(Home(Path(folder, "home")))
        agent.start()
        yield agent
        await agent.clean()


async def test_a_run_folder_that_cannot_be_made_again(close_agent: RunningAgent) -> None:
    """What another user put in its place is not used: sockets and FIFOs go to the state folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    agent, run = close_agent, run_folder(close_agent)
    shutil.rmtree(run)
    with as_stranger("os.mkdir(sys.argv[1]); os.mkdir(sys.argv[1] + '/fifo'); os.chmod(sys.argv[1], 0o777)", run):
        try:
            assert agent.jw("run", "--", "echo", "new").stdout == "new\n"
            agent.kill()
            keeper = find_keeper(agent.home)
            agent.start()
            assert find_keeper(agent.home) == keeper
            assert agent.jw("run", "--", "echo", "again").stdout == "again\n"
            assert os.listdir(run) == ["fifo"]
            assert os.listdir(run / "fifo") == []
        finally:
            shutil.rmtree(run)


async def test_a_keeper_that_does_not_answer(agent: RunningAgent) -> None:
    """A keeper that is stopped, with its socket gone, is replaced; its job runs on and is adopted."""
    assert agent.jw("run", "--detach", "--name", "kept", "--", "sleep", "600").returncode == 0
    pid = json.loads(agent.jw("status", "kept", "--json").stdout)["pid"]
    found = find_keeper(agent.home)
    assert found is not None
    agent.kill()
    shutil.rmtree(found[1])
    os.kill(found[0], signal.SIGSTOP)
    agent.start()
    shown = json.loads(agent.jw("status", "kept", "--json").stdout)
    assert (shown["state"], shown["pid"]) == ("running", pid)
    assert find_keeper(agent.home) != found


async def test_the_cgroup_of_all_jobs(agent: RunningAgent) -> None:
    """It is made again if somebody removed it while there was no job."""
    assert agent.jw("run", "--detach", "--name", "first", "--", "sleep", "600").returncode == 0
    pid = json.loads(agent.jw("status", "first", "--json").stdout)["pid"]
    hierarchy = find_hierarchy()
    group = Path(hierarchy.folder(group_of(pid))) if hierarchy else Path("/nowhere")
    if "jobworker" not in group.parent.name:
        pytest.skip("jobs get no cgroup here")
    assert agent.jw("stop", "first").returncode == 0
    assert agent.jw("rm", "first").returncode == 0
    group.parent.rmdir()
    ran = agent.jw("run", "--", "echo", "new")
    assert (ran.returncode, ran.stdout) == (0, "new\n"), ran.stderr
    assert group.parent.is_dir()


async def test_the_files_with_address_and_token(agent: RunningAgent) -> None:
    """`jw` finds the agent by its socket meanwhile: it would report that none runs, and could start none."""
    agent.home.address.unlink()
    agent.home.local_token.unlink()
    done = await asyncio.to_thread(agent.jw, "run", "--", "echo", "ok")
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    await until(lambda: agent.home.address.exists() and agent.home.local_token.exists())
    assert (await asyncio.to_thread(agent.jw, "agent", "start")).stdout.strip() == agent.address
