"""Promise 5: a slow subscriber, or one that disconnects, costs other callers nothing."""

from typing import Any

import pytest
from tests.conftest import RunningAgent
from tests.support.wire import Dial, Wire, vanish

pytestmark = pytest.mark.usefixtures("unharmed")


async def test_with_open_subscriptions(shared: RunningAgent, dial: Dial, wire: Wire) -> None:
    """A subscriber of the same job continues without a missing byte when the others are gone."""
    job = await wire.create(shell="yes abcdefg | head -c 8000000")
    name = await wire.subscribe(job)
    async with dial(shared) as one, dial(shared) as two:
        for client in (one, two):
            for _ in range(10):
                await client.subscribe(job)
        await vanish(one)
        await wire.ask("job.start", id=job)
        await wire.until(name, b"abcdefg\n")
        await vanish(two)
    count = 0
    log = wire.logs[name]
    while True:
        count += len(log.stdout)
        log.text["stdout"] = b""
        if log.end is not None:
            break
        await wire.hear()
    assert (count, log.end["offset"]) == (8_000_000, 8_000_000)


async def test_a_reader_that_never_reads(shared: RunningAgent, dial: Dial, wire: Wire) -> None:
    """A subscriber that reads nothing of 50 MB delays neither the job nor another subscriber."""
    size = 50_000_000
    async with dial(shared) as stuck:
        job: dict[str, Any] = await wire.ask("job.create", spec={"shell": f"yes abcdefg | head -c {size}"})
        for _ in range(3):
            await stuck.subscribe(job["id"], encoding="base64")
        stuck.connection.transport.pause_reading()
        name = await wire.subscribe(job["id"])
        await wire.ask("job.start", id=job["id"])
        log, count = wire.logs[name], 0
        while True:
            count += len(log.stdout)
            log.text["stdout"] = b""
            log.frames.clear()
            if log.end is not None:
                break
            await wire.hear()
        assert (count, log.end["offset"], log.end["exit"]["code"]) == (size, size, 0)
        stuck.connection.transport.abort()
