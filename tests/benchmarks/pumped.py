"""What it costs a job that its output goes through the pump, and that a hundred readers follow it."""

import contextlib
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import NamedTuple

from tests.benchmarks import writer
from tests.benchmarks.figures import cpu_seconds, median_and_range, ratio, table
from tests.benchmarks.fixtures import Agent, require, running_agent
from tests.benchmarks.readers import of_job
from tests.benchmarks.starts import through_api

from jobworker.client import Client
from jobworker.model import JobSpec, LogSpec

ROUNDS = 5
WRITES = {"64 KiB": (65536, 1 << 30), "100 bytes": (100, 100_000_000)}  # the size of each, and of all of them
FOLLOWED_ROUNDS = 3
FOLLOWED = 1_000_000_000
FOLLOWERS = 100
PART = FOLLOWED // FOLLOWERS  # of the log, that each of them must get
GB = 1e9
ROOM = LogSpec(max_bytes="4GiB")  # nothing is dropped


class Written(NamedTuple):
    """MB a second, and seconds on a processor for each GB: of the job, and of the pump."""

    speed: float
    job: float
    pump: float


async def measure() -> None:
    rows = [["writes of", "MB/s", "limit", "ratio", "job CPU s/GB", "pump CPU s/GB", "limit: job alone"]]
    async with running_agent() as agent, agent.client() as client:
        await through_api(client)  # what is done at the first job only
        for name, (size, total) in WRITES.items():
            limits, pumped = [], []
            for _ in range(ROUNDS):
                limits.append(await write(agent, client, total, size, straight=True))
                pumped.append(await write(agent, client, total, size))
            speeds, straight = [one.speed for one in pumped], [one.speed for one in limits]
            rows.append(
                [
                    name,
                    median_and_range(speeds),
                    median_and_range(straight),
                    ratio(speeds, straight),
                    median_and_range([one.job for one in pumped], 2),
                    median_and_range([one.pump for one in pumped], 2),
                    median_and_range([one.job for one in limits], 2),
                ]
            )
    table(f"A job that writes as fast as it can, {ROUNDS} rounds; the limit writes straight to a file", rows)


async def measure_followed() -> None:
    alone, followed = [], []
    async with running_agent() as agent, agent.client() as client:
        await through_api(client)
        for _ in range(FOLLOWED_ROUNDS):
            alone.append((await write(agent, client, FOLLOWED, 65536)).speed)
            followed.append((await write(agent, client, FOLLOWED, 65536, beside=partial(_followed, agent))).speed)
    rows = [
        ["", "MB/s", "limit", "ratio"],
        [f"{FOLLOWERS} readers", median_and_range(followed), median_and_range(alone), ratio(followed, alone)],
    ]
    table(f"A job that writes {FOLLOWED / GB:g} GB while it is followed; the limit is the same job alone", rows)


@contextlib.asynccontextmanager
async def _followed(agent: Agent, job: str) -> AsyncIterator[None]:
    """Have readers follow a job; each must get a part of what it writes, most of it when the job has long ended."""
    async with of_job(agent, job, "binary", count=FOLLOWERS, size=PART) as they:
        they.go()
        yield
        await they.done()


@contextlib.asynccontextmanager
async def _alone(job: str) -> AsyncIterator[None]:
    yield


async def write(
    agent: Agent,
    client: Client,
    total: int,
    size: int,
    *,
    straight: bool = False,
    beside: Callable[[str], AbstractAsyncContextManager[None]] = _alone,
) -> Written:
    """Have a job write to its log, or straight to a file; leave neither behind.

    `beside` is given its id, entered before its start, and left when it has written all.
    """
    total -= total % size
    report, file = agent.home.path / "report", agent.home.logs / "straight"
    words = [sys.executable, "-I", "-S", writer.__file__, str(total), str(size), str(report)]
    command = shlex.join(words) + (f" > {shlex.quote(str(file))}" if straight else "")
    job = await client.create(JobSpec(shell=f"exec {command}", log=ROOM))
    spent = cpu_seconds(agent.pids["pump"])
    async with beside(job.id):
        await _run(client, job.id, 0 if straight else total)
    spent = cpu_seconds(agent.pids["pump"]) - spent
    if straight:
        require(file.stat().st_size == total, f"{file.stat().st_size} bytes are in the file; expected {total}")
        file.unlink()
    await client.delete(job.id)
    took, busy = map(float, report.read_text().split())
    return Written(total / took / 1e6, busy / total * GB, spent / total * GB)


async def _run(client: Client, job: str, size: int) -> None:
    """Run the job to its end and the end of its output."""
    await client.start(job)
    ended = await client.wait(job)
    require(ended.exit is not None and ended.exit.code == 0, f"the writer failed: {ended.exit}")
    async for _ in await client.subscribe(job, size):
        pass
    ended = await client.status(job)
    require(ended.log.bytes == size, f"{ended.log.bytes} bytes are in the log; expected {size}")
