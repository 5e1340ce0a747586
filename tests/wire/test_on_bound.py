"""`log.on_bound: "wait"`: a job that is faster than its readers waits for them, and they get every byte."""

import asyncio
import os
import signal
from collections.abc import Callable

from tests.conftest import DEADLINE, RunningAgent

from jobworker.client import Client
from jobworker.client.local import wait_gone
from jobworker.model import Job, JobSpec, LogSpec, State

LINES = 200_000
WRITTEN = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
BOUND = 64 << 10
SPEC = JobSpec(shell=f"seq {LINES}", timeout=None, log=LogSpec(max_bytes=BOUND, on_bound="wait"))


async def begun(client: Client) -> Job:
    """Start the job, and return it when its log is full."""
    job = await client.start((await client.create(SPEC)).id)
    async with asyncio.timeout(DEADLINE):
        while (await client.status(job.id)).log.bytes < BOUND:  # noqa: ASYNC110  # to follow it would be to read
            await asyncio.sleep(0.02)
    return job


async def test_a_run_into_a_slow_pipe(client: Client, agent: RunningAgent) -> None:
    """`jw run … | wc -c` counts what the job has written."""
    command = ["--log-max", "64KiB", "--on-bound", "wait", "--", "seq", str(LINES)]
    done = await asyncio.to_thread(agent.jw, "run", *command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.encode() == WRITTEN


async def test_a_job_without_a_reader(client: Client) -> None:
    """It waits at the bound, `explain` has why, and a reader that comes then gets all, of both streams."""
    job = await begun(client)
    explained = await client.explain(job.id)
    assert f"the log holds {BOUND} bytes, not read yet: the job waits for its readers" in explained.summary
    assert (await client.status(job.id)).log.first_offset == 0
    follow = await client.subscribe(job.id)
    async with asyncio.timeout(DEADLINE):
        assert b"".join([chunk.data async for chunk in follow]) == WRITTEN
    assert follow.gaps == []
    assert follow.end
    assert not follow.end.truncated


async def test_pages_count_as_reading(client: Client) -> None:
    """A client that reads page after page gets every byte as well."""
    job = await begun(client)
    read, offset = b"", 0
    async with asyncio.timeout(DEADLINE):
        while len(read) < len(WRITTEN):
            page = await client.read(job.id, offset)
            assert page.gaps == []
            read += b"".join(chunk.data for chunk in page.chunks)
            offset = page.next
    assert read == WRITTEN


async def test_what_dies_meanwhile(start: Callable[..., RunningAgent]) -> None:
    """Agent, keeper and pump: the readers go on where they were, and the job with them."""
    agent = start()
    async with agent.client() as client:
        job = await begun(client)
        keeper = (await client.call("agent.info"))["keeper"]
        follow = await client.subscribe(job.id)
        read = b""
        async with asyncio.timeout(DEADLINE):
            async for chunk in follow:
                read += chunk.data
                if len(read) > 2 * BOUND:
                    break
    for role in ("pump", "pid"):
        os.kill(keeper[role], signal.SIGKILL)
        assert await asyncio.to_thread(wait_gone, keeper[role], DEADLINE)
    agent.kill()
    agent.start()
    async with agent.client() as client, asyncio.timeout(DEADLINE):
        follow = await client.subscribe(job.id, offset=len(read))
        async for chunk in follow:
            read += chunk.data
    assert follow.gaps == []
    assert read == WRITTEN


async def test_a_stop_of_a_job_that_waits(client: Client) -> None:
    """The job ends, and what was in its pipe is in the log beyond the bound."""
    job = await begun(client)
    ended = await client.stop(job.id)
    assert ended.state == State.EXITED
    follow = await client.subscribe(job.id)
    async with asyncio.timeout(DEADLINE):
        assert WRITTEN.startswith(b"".join([chunk.data async for chunk in follow]))
    assert follow.gaps == []
