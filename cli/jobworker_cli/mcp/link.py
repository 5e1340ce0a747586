"""Calls of an agent, each repeated over as many connections as that takes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from jobworker.client import Client
from jobworker.errors import ConnectionFailed

T = TypeVar("T")

# For how long a lost connection is replaced before a tool reports that: programs of AI agents wait a minute.
PATIENCE_SECONDS = 45.0


class Link:
    """The connection to the agent that all tools share. It is opened by the first call, and again when it is lost."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client = connect()
        self._opening = asyncio.Lock()  # held while the first connection is opened
        self._opened = False
        self._closing: set[asyncio.Task[None]] = set()  # connections that end, also if their tool was cancelled

    async def repeat(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Return the result of work that may be done twice; raise JobworkerError."""
        await self._open()
        while True:
            try:
                return await work(self._client)
            except ConnectionFailed:
                await self._reconnect()

    async def call(self, method: str, **params: Any) -> Any:
        """Return the result of a call that may be made twice, as plain data."""
        return await self.repeat(lambda client: client.call(method, **params))

    async def _open(self) -> None:
        async with self._opening:
            if not self._opened:
                await self._client.connection.open()
                self._opened = True

    async def _reconnect(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._client.reconnect()
        except TimeoutError:
            raise ConnectionFailed(
                f"the agent has not answered for {PATIENCE_SECONDS:g} s; its jobs run on",
                hint="call again later; if it was stopped, jw agent start starts it",
            ) from None

    @asynccontextmanager
    async def another(self) -> AsyncIterator["Link"]:
        """Yield a connection of its own, for a call that may wait for a job; its end gives up what is under way."""
        link = Link(self._connect)
        try:
            yield link
        finally:
            closing = asyncio.create_task(link.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)

    async def close(self) -> None:
        await self._client.connection.close()
