"""How long a line is under way from the job that writes it to a client, and what a flood does to that."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

from tests.benchmarks import lines
from tests.benchmarks.figures import table
from tests.benchmarks.fixtures import Agent, require, running_agent
from tests.benchmarks.readers import of_job
from tests.benchmarks.starts import through_api

from jobworker.client import Client
from jobworker.model import JobSpec

JOBS = 5  # at once, each with a subscription of its own
LINES = 120
PAUSE = 0.1


async def measure() -> None:
    rows = [["", "p50 ms", "p99 ms", "at most ms"]]
    async with running_agent() as agent, agent.client() as client:
        await through_api(client)  # what is done at the first job only
        rows.append(["alone", *percentiles(await delays(client))])
        async with flood(agent, client):
            rows.append(["beside a flood", *percentiles(await delays(client))])
    table(
        f"From write to arrival: {JOBS} jobs, each {LINES} lines, {1 / PAUSE:g} a second; no limit to compare with",
        rows,
    )


async def delays(client: Client) -> list[float]:
    """Return how long each line of some jobs took, in seconds."""
    found: list[float] = []

    async def one(number: int) -> None:
        await asyncio.sleep(PAUSE * number / JOBS)  # not all in step
        words = [sys.executable, "-I", "-S", lines.__file__, str(LINES), str(PAUSE)]
        async for chunk in await client.run(JobSpec(argv=words)):
            now = time.monotonic_ns()
            found.extend((now - int(line)) / 1e9 for line in chunk.data.split())

    await asyncio.gather(*(one(number) for number in range(JOBS)))
    require(len(found) == JOBS * LINES, f"{len(found)} lines came; expected {JOBS * LINES}")
    return found


@contextlib.asynccontextmanager
async def flood(agent: Agent, client: Client) -> AsyncIterator[None]:
    """Have another job write as fast as it can, and a reader follow it."""
    job = await client.create(JobSpec(argv=["yes", "x" * 99]))
    async with of_job(agent, job.id, "binary") as they:
        they.go()
        await client.start(job.id)
        yield
        await client.delete(job.id, force=True)


def percentiles(values: list[float]) -> list[str]:
    values = sorted(values)
    return [f"{values[min(len(values) - 1, len(values) * part // 100)] * 1000:.1f}" for part in (50, 99, 100)]
