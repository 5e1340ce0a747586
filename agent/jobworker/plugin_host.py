"""Run plugin code: each plugin in a thread with a loop of its own, each call with a limit.

What a plugin does slows its own calls only. A call that blocks its thread is noticed: from then on calls
into that plugin fail at once, until the thread answers again.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from jobworker.errors import JobworkerError

log = logging.getLogger(__name__)

T = TypeVar("T")
PATIENCE = 0.5  # seconds for the thread of a call that took too long to say that it still runs


class PluginFault(Exception):
    """Plugin code raised, took too long or returned something else than it should."""


class Named(Protocol):
    """Any object that a plugin has registered."""

    name: str


class _Worker:
    """The thread and the loop of one plugin."""

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self.faults = 0
        self.blocked = False
        self.loop = asyncio.new_event_loop()
        self._closing = False
        threading.Thread(target=self._run, name=f"plugin {plugin}", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._closing:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):  # of a task that a plugin started by itself
                log.exception("plugin %s asked to end the process, which goes on", self.plugin)

    async def look(self) -> None:
        """After a call that took too long: see whether the thread still answers."""
        alive = threading.Event()
        answered = asyncio.Event()
        agent = asyncio.get_running_loop()

        def answer() -> None:
            alive.set()
            agent.call_soon_threadsafe(self._answers, answered)

        self.loop.call_soon_threadsafe(answer)
        try:
            async with asyncio.timeout(PATIENCE):
                await answered.wait()
        except TimeoutError:
            if not alive.is_set() and not self.blocked:
                self.blocked = True
                log.error("plugin %s blocks its thread: calls into it fail until it is done", self.plugin)

    def _answers(self, answered: asyncio.Event) -> None:
        answered.set()
        if self.blocked:
            self.blocked = False
            log.warning("plugin %s answers again", self.plugin)

    def close(self) -> None:
        self._closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)


class PluginHost:
    """All plugins; `owner` says which one has registered an object."""

    def __init__(self, owner: Callable[[Named], str]) -> None:
        self._owner = owner
        self._workers: dict[str, _Worker] = {}

    def _worker(self, plugin: str) -> _Worker:
        if plugin not in self._workers:
            self._workers[plugin] = _Worker(plugin)
        return self._workers[plugin]

    async def call(self, registered: Named, function: Callable[[], Awaitable[T]], limit: float) -> T:
        """Run an async function of a registered object for at most `limit` seconds.

        A JobworkerError that it raises is passed on, anything else becomes PluginFault.
        """
        worker = self._worker(self._owner(registered))
        if worker.blocked:
            worker.faults += 1
            raise PluginFault(f"{registered.name}: the plugin {worker.plugin} is blocked")
        expired = threading.Event()
        carried = _carry(registered.name, function, expired)
        future = asyncio.run_coroutine_threadsafe(carried, worker.loop)
        try:
            async with asyncio.timeout(limit):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            worker.faults += 1
            await worker.look()
            raise PluginFault(f"{registered.name} took more than {limit:g} s") from error
        except PluginFault:
            worker.faults += 1
            raise
        finally:
            expired.set()
            future.cancel()

    async def run(self, registered: Named, function: Callable[[], T], limit: float = 5.0) -> T:
        """The same for a plain function."""

        async def call() -> T:
            return function()

        return await self.call(registered, call, limit)

    def state(self, plugin: str) -> dict[str, Any]:
        """Return how a plugin is doing: whether it blocks, and how many calls have failed."""
        worker = self._workers.get(plugin)
        return {"blocked": worker is not None and worker.blocked, "faults": worker.faults if worker else 0}

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()


async def _carry(name: str, function: Callable[[], Awaitable[T]], expired: threading.Event) -> T:
    """Await the function in the plugin's thread; nothing but an Exception may leave it."""
    try:
        return await function()
    except JobworkerError:
        raise
    except asyncio.CancelledError:
        if expired.is_set():
            raise
        raise PluginFault(f"{name} raised CancelledError") from None
    except BaseException as error:
        log.exception("plugin object %s failed", name)
        raise PluginFault(f"{name} raised {type(error).__name__}") from error
