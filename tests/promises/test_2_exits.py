"""Promise 2: no exit status is lost or invented, whatever of ours is killed."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.support.waiting import DEADLINE
from tests.torture import faults
from tests.torture.outcome import judge

from jobworker.client import Client
from jobworker.model import JobSpec, Reason, State


async def keeper_of(client: Client) -> int:
    return int((await client.call("agent.info"))["keeper"]["pid"])


async def test_a_job_outlives_its_keeper(client: Client) -> None:
    """The next keeper adopts the job: its bytes go on, it can be stopped, and its end is known."""
    run = await client.run(
        JobSpec(shell="echo before; read line < $FIFO; echo after; exit 7", env={"FIFO": "/dev/null"})
    )
    counting = await client.run(
        JobSpec(shell="i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo $i; sleep 0.05; done; exit 7")
    )
    said = b""
    killed = 0
    async for chunk in counting:
        said += chunk.data
        if killed == 0 and b"3\n" in said:
            killed = await keeper_of(client)
            os.kill(killed, signal.SIGKILL)
    assert said == b"".join(b"%d\n" % number for number in range(1, 21))
    assert counting.end is not None
    assert counting.end.exit is not None
    assert (counting.end.exit.code, counting.end.exit.reason) == (7, Reason.FINISHED)
    async for _ in run:
        pass
    assert run.end is not None
    assert await keeper_of(client) != killed


async def test_an_adopted_job_can_be_stopped(client: Client) -> None:
    job = await client.create(JobSpec(argv=["sleep", "600"]))
    job = await client.start(job.id)
    keeper = await keeper_of(client)
    os.kill(keeper, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE):
        while await keeper_of(client) == keeper:  # noqa: ASYNC110  # the agent sends no word of it
            await asyncio.sleep(0.02)
    assert (await client.status(job.id)).state == State.RUNNING
    stopped = await client.stop(job.id)
    assert stopped.exit is not None
    assert (stopped.exit.reason, stopped.exit.signal) == (Reason.STOPPED, "SIGTERM")


async def test_jobs_end_while_the_agent_is_down(tmp_path: Path) -> None:
    outcome = await faults.jobs_end_while_the_agent_is_down(tmp_path / "t", 20)
    judge(outcome)
    assert outcome.statuses == {"exact": 20 + len(faults.SIGNALS)}


@pytest.mark.slow
@pytest.mark.parametrize("source", ["ancestor", "kernel", "nobody"])
async def test_many_deaths_of_the_keeper(tmp_path: Path, source: str) -> None:
    """A status comes from any process that has it; if none has, the job is lost, never 0 and never 137."""
    outcome = await faults.keeper_dies(tmp_path / "t", 2, 8, source)
    judge(outcome)
    if source == "ancestor":
        assert outcome.statuses == {"exact": 16}
    if source == "nobody":
        assert outcome.statuses == {"lost": 16}
