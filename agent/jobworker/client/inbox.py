"""The notifications of one subscription that have arrived and were not taken yet."""

import asyncio
from collections import deque
from typing import Any

Notification = tuple[str, dict[str, Any]]  # method and params
NOTIFICATION_BYTES = 1024  # that one takes besides its data, about


class Inbox:
    """Filled by the connection's reader, emptied by the consumer of the subscription.

    `unsubscribe` is the method that ends it.
    """

    def __init__(self, unsubscribe: str) -> None:
        self.unsubscribe = unsubscribe
        # Whether its consumer wants nothing more.
        self.closed = False
        # Bytes of the notifications that wait, about.
        self.size = 0
        self._items: deque[Notification | None] = deque()
        self._arrived = asyncio.Event()

    def put(self, notification: Notification) -> None:
        self._items.append(notification)
        self.size += _size(notification)
        self._arrived.set()

    def mark_lost(self) -> None:
        """Note that the subscription broke off there; what arrived before is still good."""
        self._items.append(None)
        self._arrived.set()

    def close(self) -> None:
        """Drop what has arrived, and end the loop of the consumer."""
        self.closed = True
        self._items.clear()
        self.size = 0
        self.mark_lost()

    async def take(self) -> Notification | None:
        """Return the next notification; None if the subscription broke off there."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        if (notification := self._items.popleft()) is not None:
            self.size -= _size(notification)
        return notification


def _size(notification: Notification) -> int:
    _, params = notification
    data = params.get("bytes") or params.get("data") or b""
    return NOTIFICATION_BYTES + len(data)
