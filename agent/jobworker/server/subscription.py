"""What all subscriptions of a connection share: a task that sends one thing after the other, and its end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from websockets.exceptions import ConnectionClosed

log = logging.getLogger(__name__)

Send = Callable[[bytes, bool], Awaitable[None]]  # a frame, and whether it is text


class Subscription:
    """Runs from `start` until what it reads is at its end, or until it is stopped.

    A subclass says what it sends (`_run`) and what it holds (`_close`).
    """

    def __init__(self, name: str, send: Send, done: Callable[[], None]) -> None:
        self.name = name
        self._send = send
        self._done = done
        self.failed: Callable[[], None] = lambda: None  # told when it ends by a fault of ours
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def start(self) -> None:
        if not self._over:
            self._task = asyncio.create_task(self._guarded())

    async def stop(self) -> None:
        """Return when nothing of it will be sent any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._end()  # a task that is cancelled before its first step does nothing at all

    async def _guarded(self) -> None:
        try:
            await self._run()
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("subscription %s failed", self.name)
            self.failed()
        finally:
            self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._close()
            self._done()

    async def _run(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError
