"""The base of all subscriptions: a task that sends frames one after the other, and its end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from websockets.exceptions import ConnectionClosed

from jobworker.model import JobSummary

log = logging.getLogger(__name__)

Send = Callable[[Sequence[bytes], bool], Awaitable[None]]  # a frame in parts, and whether it is text


class Subscription:
    """Runs from `start` until its source ends or it is stopped.

    A subclass implements `_run`, which sends the frames, `_close`, which releases its source, and `lag`.
    """

    kind = "log"  # or "event"

    def __init__(self, name: str, send: Send, done: Callable[[], None]) -> None:
        self.name = name
        self._send = send
        self._done = done
        # Called if `_run` raises: the client would wait for ever for the next frame.
        self.failed: Callable[[], None] = lambda: None
        # None until `start`.
        self._task: asyncio.Task[None] | None = None
        # Whether the source is released; it may happen before `start`.
        self._ended = False

    def hides(self, job: JobSummary) -> bool:
        """Whether it shows this job and its caller may no longer see that, since its labels have changed."""
        return False

    def lag(self) -> int:
        """Return how much there is that was not sent yet: bytes of a log, or events of all jobs."""
        return 0

    def start(self) -> None:
        if not self._ended:
            self._task = asyncio.create_task(self._guarded())

    def cancel(self) -> None:
        """Send nothing more: the task gets the cancellation before its next step."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._end()

    async def stop(self) -> None:
        """Return once it sends nothing more and its source is released."""
        self.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._end()  # a task cancelled before its first step never runs its `finally`

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
        if not self._ended:
            self._ended = True
            self._close()
            self._done()

    async def _run(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError
