"""What each peer must be able to do so that it can be measured."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

PROGRAM = "/bin/true"
LANES = 16  # jobs in flight at most


class Skipped(Exception):
    """This peer cannot be measured here; the text is the reason."""


class Peer(Protocol):
    """A running service that starts jobs. Each lane is used by one job at a time."""

    lanes: int  # jobs that it can start at once

    async def run(self, lane: int) -> None:
        """Start `/bin/true` and return when the peer has reported its end."""

    async def status(self) -> None:
        """Ask for the state of one job."""

    async def hold(self, count: int) -> tuple[int, int]:
        """Start `count` sleeping jobs; return the peer's private bytes before and after, without the jobs' own."""


Start = Callable[[], AbstractAsyncContextManager[Peer]]
Running = AsyncIterator[Peer]
