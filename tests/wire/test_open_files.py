"""Connections of strangers and the limit of open files."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.hostile.raw import Raw
from websockets.exceptions import InvalidStatus

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire

    from jobworker.testing import RunningAgent

SOFT, HARD = 256, 4096
IDLE = 400  # connections: more than the soft limit allows


async def soft_limit(wire: "Wire") -> bytes:
    """Return the soft limit that a job has."""
    run = await wire.ask("job.run", spec={"shell": "ulimit -Sn"})
    return (await wire.follow(run["subscription"])).stdout


async def test_more_connections_than_the_soft_limit(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """The agent takes all files that it may; a job keeps the limit that the agent was started with."""
    agent = start_agent(under=["prlimit", f"--nofile={SOFT}:{HARD}"])
    streams = [await asyncio.open_connection("127.0.0.1", agent.port) for _ in range(IDLE)]
    try:
        async with dial(agent) as wire:
            assert await soft_limit(wire) == b"%d\n" % SOFT
            await wire.ask("agent.restart")
            assert await wire.closed() == 1012
        async with dial(agent) as wire:
            keeper = (await wire.ask("agent.info"))["keeper"]["pid"]
            os.kill(keeper, signal.SIGKILL)  # the restarted agent starts another
            assert await soft_limit(wire) == b"%d\n" % SOFT
            assert (await wire.ask("agent.info"))["keeper"]["pid"] != keeper
    finally:
        for _, writer in streams:
            writer.close()


async def test_one_address_does_not_hold_all_places(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """Of the places for connections without a login, one address gets some; another address finds room."""
    agent = start_agent(config="[limits]\nunauthenticated = 4\nunauthenticated_per_address = 2\n")
    async with dial(agent, token=None), dial(agent, token=None):
        with pytest.raises(InvalidStatus) as refused:
            async with dial(agent, token=None):
                pass
        assert refused.value.response.status_code == 429
        (await Raw.upgraded(agent)).drop()  # from an address of its own
