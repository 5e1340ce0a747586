"""What all of the client's subscriptions share: the notifications that have arrived and were not yet taken."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from jobworker.errors import ConnectionFailed

if TYPE_CHECKING:
    from jobworker.client.client import Client


class Feed:
    """Filled by the client, which reads the connection; emptied by whoever iterates over it."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._news: deque[tuple[str, dict[str, Any]] | None] = deque()
        self._arrived = asyncio.Event()

    @property
    def backlog(self) -> int:
        return len(self._news)

    def feed(self, method: str, params: dict[str, Any]) -> None:
        self._news.append((method, params))
        self._arrived.set()

    def cut(self) -> None:
        """The connection is lost; what arrived before is still good."""
        self._news.append(None)
        self._arrived.set()

    async def _next(self) -> tuple[str, dict[str, Any]]:
        """Return the next notification; where the connection was lost, subscribe again at that point first."""
        while True:
            while not self._news:
                self._arrived.clear()
                await self._arrived.wait()
            news = self._news.popleft()
            self._client.consumed()
            if news is not None:
                return news
            await self._resume()

    async def _resume(self) -> None:
        """Subscribe again over a new connection; raise ConnectionFailed."""
        while True:
            await self._client.reconnect()
            try:
                await self._subscribe()
                return
            except ConnectionFailed:
                continue

    async def _subscribe(self) -> None:
        raise NotImplementedError
