"""The client library, whose connection is lost under a call."""

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from jobworker.errors import ConnectionFailed

if TYPE_CHECKING:
    from tests.conftest import RunningAgent


async def test_a_call_on_a_connection_that_is_being_lost(shared: "RunningAgent") -> None:
    """It raises ConnectionFailed once, and asyncio logs no exception that was never retrieved."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with shared.client() as client:
        assert client.connection._websocket is not None
        closing = asyncio.create_task(client.connection._websocket.close())
        await asyncio.sleep(0)  # it has begun
        with pytest.raises(ConnectionFailed):
            await client.call("agent.ping")
        await closing
    gc.collect()
    assert complaints == []
