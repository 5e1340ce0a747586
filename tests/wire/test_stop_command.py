"""The command of a stop runs inside the job: in its groups and namespaces, and what it leaves ends with the job."""

import os
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import RunningAgent
from tests.support.waiting import alive

from jobworker.client import Client
from jobworker.model import Exit, JobSpec, Reason, StopSpec

# Leaves a process in a session of its own, and has the job end.
SCRIPT = """
cat /proc/self/cgroup > cgroup
readlink /proc/self/ns/pid > namespace
ulimit -n > files
setsid sleep 600 &
{pid} > left
touch over
"""
UNTIL_OVER = "readlink /proc/self/ns/pid > own; echo up; while [ ! -e over ]; do sleep 0.01; done; exit 8"


def by_command(script: str, **options: Any) -> StopSpec:
    steps = {"steps": [{"signal": "KILL"}]}
    return StopSpec(strategy="command", options={"argv": ["sh", "-c", script], **steps, **options})


async def stopped(client: Client, folder: Path, how: StopSpec, **spec: Any) -> tuple[str, Exit]:
    """Run a job and stop it by a command; return its id and its exit."""
    run = await client.run(JobSpec(shell=UNTIL_OVER, cwd=str(folder), **spec))
    async for _ in run:
        break
    ended = (await client.stop(run.job.id, how)).exit
    assert ended is not None
    assert ended.receipt is not None
    assert (ended.reason, ended.receipt.survivors) == (Reason.STOPPED, [])
    return run.job.id, ended


async def test_what_it_leaves_is_gone(either: RunningAgent, tmp_path: Path) -> None:
    """It is in the job's groups, and so is what it starts: the receipt counts that as well."""
    async with either.client() as client:
        info = (await client.call("agent.info"))["capabilities"]
        limits = {"pids": 500} if "pids" in info["limits"] else {}
        script = SCRIPT.replace("{pid}", "echo $!")
        job, ended = await stopped(
            client, tmp_path, by_command(script, timeout="1s"), limits=limits, rlimits={"nofile": 99}
        )
    assert ended.code == 8
    assert not alive(int((tmp_path / "left").read_text()))
    groups = (tmp_path / "cgroup").read_text()
    assert (job in groups) == (info["stop"] == "cgroup" or bool(limits))
    assert (tmp_path / "files").read_text() == "99\n"


async def test_in_a_namespace(either: RunningAgent, tmp_path: Path) -> None:
    """It is inside, where the job's pids mean something; what it leaves ends with the namespace."""
    async with either.client() as client:
        if not (await client.call("agent.info"))["capabilities"]["namespace"]:
            pytest.skip("no namespace can be made here")
        how = by_command(SCRIPT.replace("{pid}", "echo $!"), timeout="1s")
        _, ended = await stopped(client, tmp_path, how, pid_namespace=True)
    assert ended.code == 8
    assert (tmp_path / "namespace").read_text() == (tmp_path / "own").read_text()
    assert (tmp_path / "namespace").read_text() != os.readlink("/proc/self/ns/pid") + "\n"


async def test_it_does_not_end(either: RunningAgent, tmp_path: Path) -> None:
    """After its time it is killed with all it has started, before the next step."""
    async with either.client() as client:
        script = "echo $$ > pid; sleep 600 & echo $! > child; wait"
        _, ended = await stopped(client, tmp_path, by_command(script, timeout="1s"))
    assert ended.signal == "SIGKILL"
    assert not alive(int((tmp_path / "pid").read_text()))
    assert not alive(int((tmp_path / "child").read_text()))


async def test_it_cannot_be_executed(either: RunningAgent, tmp_path: Path) -> None:
    """The steps come at once, and the agent's log has the reason."""
    async with either.client() as client:
        how = StopSpec(
            strategy="command", options={"argv": ["/no/such"], "timeout": "10m", "steps": [{"signal": "KILL"}]}
        )
        _, ended = await stopped(client, tmp_path, how)
    assert ended.signal == "SIGKILL"
    assert "No such file or directory: '/no/such'" in either.home.agent_log.read_text()
