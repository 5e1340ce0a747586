"""Repeat calls that may be made twice, over as many connections as that takes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from jobworker.client import Client
from jobworker.errors import ConnectionFailed

T = TypeVar("T")
RETRY_SECONDS = 0.05  # before a call is made again


async def retry_call(client: Client, method: str, **params: Any) -> Any:
    """Call a method that may be called twice; reconnect as often as needed."""
    return await retry(client, lambda: client.call(method, **params))


async def retry(client: Client, work: Callable[[], Awaitable[T]]) -> T:
    """Return the result of work that may be done twice; reconnect as often as needed."""
    while True:
        try:
            return await work()
        except ConnectionFailed:
            await asyncio.sleep(RETRY_SECONDS)
            await client.reconnect()
