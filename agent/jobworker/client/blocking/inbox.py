"""The notifications of one subscription that have arrived and were not taken yet."""

from collections import deque
from typing import Any

Notification = tuple[str, dict[str, Any]]  # method and params


class Inbox(deque[Notification | None]):
    """The notifications of one subscription that were not taken yet; None: it broke off there.

    `unsubscribe` is the method that ends it.
    """

    def __init__(self, unsubscribe: str) -> None:
        super().__init__()
        self.unsubscribe = unsubscribe
        # Whether its consumer wants nothing more.
        self.closed = False

    def mark_lost(self) -> None:
        """Note that the subscription broke off there; what arrived before is still good."""
        self.append(None)

    def close(self) -> None:
        """Drop what has arrived, and end the loop of the consumer."""
        self.closed = True
        self.clear()
        self.append(None)
