"""If the host sets a limit, the agent reports it and runs on."""

import asyncio

import pytest
from tests.conftest import RunningAgent

from jobworker.errors import RateLimited
from jobworker.model import JobSpec
from jobworker.paths import Home


async def test_more_jobs_than_files_may_be_open(home: Home) -> None:
    """One too many is refused, was not started, and starts when there is room; the others lose nothing."""
    agent = RunningAgent(home, under=["/bin/sh", "-c", 'ulimit -n 160; exec "$@"', "sh"])
    agent.start()
    async with agent.client() as client:
        created = [await client.create(JobSpec(shell="read _; echo $?; exec sleep 1000")) for _ in range(40)]
        answers = await asyncio.gather(*(client.start(job.id) for job in created), return_exceptions=True)
        refused = [job for job, answer in zip(created, answers, strict=True) if isinstance(answer, RateLimited)]
        running = [job for job in created if job not in refused]
        assert refused
        assert len(running) >= 8
        for job in running:
            async for chunk in await client.subscribe(job.id):
                assert chunk.data == b"1\n"
                break
        with pytest.raises(RateLimited):
            await client.start(refused[0].id)
        await client.stop(running[0].id)
        assert (await client.start(refused[0].id)).pid
    await agent.clean()
