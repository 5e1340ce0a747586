"""A stop that the agent does not live to see the end of: the next agent goes on, and the receipt has it all."""

import asyncio
import os
import signal
from pathlib import Path

from tests.conftest import RunningAgent
from tests.support.waiting import ends, until

from jobworker.client import Client
from jobworker.model import Exit, Job, JobSpec, Reason, StopSpec

HANDLES = "trap ': > {0}/got' USR1; trap 'exit 5' USR2; echo up; while :; do sleep 0.01; done"


async def begun(client: Client, folder: Path, grace: str) -> Job:
    """Begin a stop whose first signal the job handles, and return when that step is on record."""
    steps = [{"signal": "USR1", "grace": grace}, {"signal": "KILL"}]
    how = StopSpec(strategy="ladder", options={"steps": steps})
    run = await client.run(JobSpec(shell=HANDLES.format(folder), stop=how))
    async for _ in run:
        break
    stop = asyncio.create_task(client.stop(run.job.id))
    await until((folder / "got").exists)
    for _ in range(20):  # turns of the loop, in which the step is written
        await client.call("agent.ping")
    stop.cancel()
    return run.job


def steps_of(exit_: Exit | None) -> list[str]:
    assert exit_ is not None
    assert exit_.receipt is not None
    assert (exit_.reason, exit_.receipt.survivors) == (Reason.STOPPED, [])
    return [step.signal or step.action for step in exit_.receipt.steps]


async def test_the_next_agent_goes_on(either: RunningAgent, tmp_path: Path) -> None:
    """The receipt has the steps of both agents, and that there were two."""
    async with either.client() as client:
        job = await begun(client, tmp_path, "3s")
    either.kill()
    either.start()
    async with either.client() as client:
        ended = (await client.wait(job.id)).exit
        assert steps_of(ended) == ["SIGUSR1", "continued", "SIGUSR1", "SIGKILL"]


async def test_the_job_ends_before_the_next_agent(either: RunningAgent, tmp_path: Path) -> None:
    """Of a job that ended in between, the receipt has the steps that were taken."""
    async with either.client() as client:
        job = await begun(client, tmp_path, "10m")
    either.kill()
    assert job.pid is not None
    os.kill(job.pid, signal.SIGUSR2)
    assert ends(job.pid)
    either.start()
    async with either.client() as client:
        ended = (await client.wait(job.id)).exit
        assert steps_of(ended) == ["SIGUSR1"]
        assert ended is not None
        assert ended.code == 5
