"""Calls and loops of the client library that are cancelled, or take too long, leave nothing behind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

from jobworker.client import Client, connect, wire
from jobworker.client.blocking import connect as connect_blocking
from jobworker.errors import ConnectionFailed, RateLimited, WaitTimeout
from jobworker.model import JobSpec

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

SLEEP = JobSpec(argv=["sleep", "600"], timeout="60s")


@pytest.fixture
async def client(shared: "RunningAgent") -> AsyncIterator[Client]:
    """A client that leaves no task of its own."""
    before = asyncio.all_tasks()
    async with shared.client() as connected:
        yield connected
    assert len(asyncio.all_tasks()) == len(before)


async def subscriptions(client: Client, job: str) -> int:
    """Return how many subscriptions of this connection the agent has, of the hundred that it allows."""
    extra = []
    try:
        for _ in range(101):
            extra.append(await client.subscribe(job))
    except RateLimited:
        pass
    for subscription in extra:
        await subscription.close()
    return 100 - len(extra)


async def until_none(client: Client, job: str) -> None:
    """Return when the agent has no subscription of this connection."""
    async with asyncio.timeout(DEADLINE):
        while await subscriptions(client, job):
            await client.ping()


async def test_loops_that_end_early(client: Client) -> None:
    """By `break`, by cancellation, by `close`, or before they begin."""
    run = await client.run(JobSpec(shell="while :; do echo a; sleep 0.05; done", timeout="60s"))
    async for chunk in run:
        assert chunk.data
        break
    await until_none(client, run.job.id)
    offset = run.offset
    async for chunk in run:
        assert chunk.offset == offset, "a further loop goes on at the next byte"
        break

    async def follow() -> None:
        async for _ in await client.subscribe(run.job.id):
            started.set()

    async def watch() -> None:
        async for _ in await client.events():
            started.set()

    for loop in (follow, watch):
        started = asyncio.Event()
        task = asyncio.create_task(loop())
        if loop is watch:
            await asyncio.sleep(0.1)
            await client.update(run.job.id, labels={"a": "b"})
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with await client.events(), await client.subscribe(run.job.id) as closed:
        await closed.close()
        assert [chunk async for chunk in closed] == [], "a loop over a closed one ends"
    await until_none(client, run.job.id)
    await client.stop(run.job.id)


async def test_calls_that_are_cancelled_before_their_answer(client: Client) -> None:
    """What they have begun is ended when the answer comes."""
    async with await client.run(SLEEP) as run:
        job = run.job.id
    for steps in range(6):
        for call in (client.run(SLEEP, key="cancelled"), client.subscribe(job), client.events()):
            task = asyncio.ensure_future(call)
            for _ in range(steps):  # as many turns of the loop
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert client.connection._waiting == {}
    await until_none(client, job)
    await client.ping()
    assert client.connection._abandoned == {}


async def test_waits_that_are_cancelled(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than the agent has in flight do not keep it from reading: each is over after a while."""
    monkeypatch.setattr(wire, "WAIT_SECONDS", 0.5)
    async with await client.run(SLEEP) as run:
        waits = [asyncio.ensure_future(client.wait(run.job.id)) for _ in range(64)]
        await asyncio.sleep(0)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        async with asyncio.timeout(DEADLINE):
            await client.ping()
            with pytest.raises(WaitTimeout, match=r"has not ended within 0\.7"):
                await client.wait(run.job.id, 0.7)
            waiting = asyncio.ensure_future(client.wait(run.job.id, "1m"))
            await asyncio.sleep(0.6)
            await client.stop(run.job.id)
            assert (await waiting).state.final


async def test_a_call_that_takes_too_long(shared: "RunningAgent") -> None:
    """Is ConnectionFailed with its name, from both clients, and the connection works on."""
    async with connect(shared.address, token=shared.token, ca=shared.ca, timeout=0.2) as client:
        job = (await client.run(SLEEP)).job.id
        with pytest.raises(ConnectionFailed, match=r"job\.wait: no answer within 0\.2 s"):
            await client.wait(job)
        client.connection.timeout = DEADLINE
        assert (await client.status(job)).id == job
    with connect_blocking(shared.address, token=shared.token, ca=shared.ca, timeout=0.2) as other:
        with pytest.raises(ConnectionFailed, match=r"job\.wait: no answer within 0\.2 s"):
            other.wait(job)
        os.kill(shared.pid, signal.SIGSTOP)  # it answers later
        try:
            with pytest.raises(ConnectionFailed, match=r"log\.subscribe: no answer within 0\.2 s"):
                other.connection.call("log.subscribe", id=job)
        finally:
            os.kill(shared.pid, signal.SIGCONT)
        other.connection.timeout = DEADLINE
        other.ping()
        other.stop(job)
        assert other.connection._abandoned == {}, "the subscription was ended when its answer came"
