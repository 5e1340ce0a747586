"""Run folders that killed agents have left: the next agent removes those that no process uses."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conftest import DEADLINE, RunningAgent

from jobworker.client.local import wait_gone
from jobworker.model import JobSpec, Reason
from jobworker.paths import Home


@pytest.fixture
async def killed(tmp_path: Path) -> AsyncIterator[RunningAgent]:
    """An agent that a test kills, with keeper and pump, and that is ended properly afterwards."""
    agent = RunningAgent(Home(tmp_path / "killed"))
    agent.start()
    yield agent
    await agent.clean()


async def kill_all(agent: RunningAgent) -> None:
    """Kill agent, keeper and pump; have their run folder look as if that was a while ago."""
    async with agent.client() as client:
        keeper = (await client.call("agent.info"))["keeper"]
    agent.kill()
    for role in ("pid", "pump"):
        os.kill(keeper[role], signal.SIGKILL)
        assert await asyncio.to_thread(wait_gone, keeper[role], DEADLINE)
    age(agent.home.run_folder())


def age(folder: Path) -> None:
    then = time.time() - 3600
    os.utime(folder, (then, then))


async def test_a_folder_that_a_killed_agent_left(killed: RunningAgent, home: Home) -> None:
    """It is removed by the next agent, also by one on another state folder."""
    run = killed.home.run_folder()
    await kill_all(killed)
    assert (run / "keeper.sock").exists()
    other = RunningAgent(home)
    other.start()
    try:
        assert not run.exists()
    finally:
        await other.clean()


async def test_a_folder_that_is_in_use(killed: RunningAgent, home: Home, tmp_path: Path) -> None:
    """Of an agent that runs, and of a job that waits for an agent with its FIFOs, nothing is removed."""
    run, gate = killed.home.run_folder(), tmp_path / "gate"
    os.mkfifo(gate)
    async with killed.client() as client:
        job = await client.run(JobSpec(shell=f"read line < {gate}; echo late", timeout=None))
    age(run)
    other = RunningAgent(home)
    other.start()
    try:
        assert (run / "keeper.sock").exists()
        await kill_all(killed)
        other.end()
        other.start()
        assert run.exists()
    finally:
        await other.clean()
    killed.start()
    gate.write_text("go\n")
    async with killed.client() as client, asyncio.timeout(DEADLINE):
        assert b"".join([chunk.data async for chunk in await client.subscribe(job.job.id)]) == b"late\n"
        ended = await client.wait(job.job.id)
        assert ended.exit
        assert ended.exit.reason in (Reason.FINISHED, Reason.LOST)
