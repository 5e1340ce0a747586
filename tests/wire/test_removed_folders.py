"""Folders that a cleaner removed under a running agent are made again: jobs go on, and new ones start."""

import asyncio
import shutil

from jobworker.model import JobSpec
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
