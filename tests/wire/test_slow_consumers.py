"""A log that is not read, or slowly, keeps nothing else of its connection waiting, and loses no byte."""

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

from jobworker.client import Client, connection
from jobworker.client.blocking import Client as BlockingClient
from jobworker.client.blocking import connection as blocking_connection
from jobworker.client.local import local_endpoint
from jobworker.model import JobSpec, LogSpec

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

ENDLESS = JobSpec(argv=["yes"], timeout="60s", log=LogSpec(max_bytes=8 << 20))
LINES = 400_000
WRITTEN = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
BOUND = 64 << 10
# The agent drops what it has sent.
KEPT_FOR_READERS = JobSpec(argv=["seq", str(LINES)], log=LogSpec(max_bytes=BOUND, on_bound="wait"))
ON_ITS_WAY = 16 << 20  # bytes that buffers between an agent and its client hold, at most


async def test_a_log_that_is_not_read(client: Client) -> None:
    """Another log is read to its end meanwhile, and memory stays bounded; the first goes on at its offset."""
    endless = await client.run(ENDLESS)
    async with asyncio.timeout(DEADLINE):
        for _ in range(3):
            other = await client.run(JobSpec(argv=["echo", "hello"]))
            assert b"".join([chunk.data async for chunk in other]) == b"hello\n"
        while endless.inbox.size <= connection.MAX_BACKLOG:  # noqa: ASYNC110  # no event: it is not read
            await asyncio.sleep(0.02)
        await client.wait(other.job.id)
        offset, passed = 0, endless.inbox.size + (1 << 20)
        assert passed < connection.MAX_BACKLOG + ON_ITS_WAY
        async for chunk in endless:
            assert chunk.offset == offset or [gap.to for gap in endless.gaps][-1:] == [chunk.offset]
            offset = chunk.offset + len(chunk.data)
            if offset > passed:
                break
    await client.stop(endless.job.id)


async def test_two_logs_of_which_each_byte_counts(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the second what was on its way when it was paused is kept: the job has dropped it."""
    monkeypatch.setattr(connection, "MAX_BACKLOG", 4096)
    first, second = await client.run(KEPT_FOR_READERS), await client.run(KEPT_FOR_READERS)
    async with asyncio.timeout(DEADLINE):
        for run in (first, second):
            data = b""
            async for chunk in run:
                data += chunk.data
                await client.ping()  # slowly, so that it is paused again and again
            assert (data, run.gaps) == (WRITTEN, [])


def test_two_logs_of_the_blocking_client(shared: "RunningAgent", monkeypatch: pytest.MonkeyPatch) -> None:
    """As of the one for asyncio; much is on its way before the first byte is read."""
    monkeypatch.setattr(blocking_connection, "MAX_BACKLOG", 1)
    find = lambda: local_endpoint(shared.home)  # noqa: E731
    with BlockingClient(find, timeout=DEADLINE) as client, BlockingClient(find) as other:
        runs = [client.run(KEPT_FOR_READERS), client.run(KEPT_FOR_READERS)]
        while sum(other.status(run.job.id).log.bytes for run in runs) < 4 * BOUND:
            time.sleep(0.02)
        for run in runs:
            data = b"".join(chunk.data for chunk in run)
            assert (data, run.gaps) == (WRITTEN, [])
