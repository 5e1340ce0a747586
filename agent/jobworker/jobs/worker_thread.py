"""A thread of the job table: what is called runs there in order, and the loop gets the result.

An executor does the same with a lock, a condition and two futures for each call; each job makes several calls.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def _nothing() -> None:
    """Stand for a call that was urgent, and is made."""


class WorkerThread:
    """One thread, from `__init__` until `end`."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()  # None: end
        self._urgent: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()  # overtake those of `_calls`
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, function: Callable[[], T], *, urgent: bool = False) -> T:
        """Call the function in the thread and return what it returns. It is called even if this call is cancelled.

        `urgent`: before all others that have not begun.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if urgent:
            self._urgent.append((function, future))
        self._calls.put((_nothing, future) if urgent else (function, future))  # in any case it wakes the thread
        return await future

    def end(self) -> None:
        """Let the thread end after the calls that were made."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            while self._urgent:
                self._carry_out(*self._urgent.popleft())
            self._carry_out(*call)

    def _carry_out(self, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        if function is not _nothing:
            loop = future.get_loop()
            try:
                result = function()
            except BaseException as error:
                loop.call_soon_threadsafe(_fail, future, error)
            else:
                loop.call_soon_threadsafe(_succeed, future, result)


def _succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():  # the caller was cancelled
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
