"""Run plugin code: each plugin in a thread with a loop of its own, each call with a limit.

What a plugin does slows its own calls only. A call that blocks its thread is noticed: from then on calls
into that plugin fail at once, until the thread answers again.
"""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from jobworker.errors import JobworkerError, StartError

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_TEXT = 500  # characters of a plugin's text in an error
ANSWER_SECONDS = 0.5  # for the thread of a call that took too long to prove that it still runs


class PluginFault(Exception):
    """Plugin code raised, took too long or returned a wrong value."""


class Named(Protocol):
    """Any object that a plugin has registered."""

    name: str


class _Worker:
    """The thread and the loop of one plugin."""

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self.faults = 0  # calls that failed
        self.seconds = 0.0  # that all calls together have taken, from the agent's side
        self.free = asyncio.Event()  # set while the thread is not blocked
        self.free.set()
        self.loop = asyncio.new_event_loop()  # runs in the thread
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"plugin {plugin}", daemon=True)
        self._thread.start()

    @property
    def blocked(self) -> bool:
        return not self.free.is_set()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._closing:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):  # of a task that a plugin started by itself
                log.exception("plugin %s tried to end the process, which goes on", self.plugin)
        for task in (left := asyncio.all_tasks(self.loop)):
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()

    async def look(self) -> None:
        """Check whether the thread still answers, after a call that took too long."""
        alive = threading.Event()
        answered = asyncio.Event()
        agent = asyncio.get_running_loop()

        def answer() -> None:
            alive.set()
            agent.call_soon_threadsafe(self._answers, answered)

        self.loop.call_soon_threadsafe(answer)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await answered.wait()
        except TimeoutError:
            if not alive.is_set() and not self.blocked:
                self.free.clear()
                log.error("plugin %s blocks its thread: calls into it fail until it is done", self.plugin)

    def _answers(self, answered: asyncio.Event) -> None:
        answered.set()
        if self.blocked:
            self.free.set()
            log.warning("plugin %s answers again", self.plugin)

    def close(self) -> None:
        """End the thread; one that blocks is abandoned, and ends with the process."""
        self._closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(ANSWER_SECONDS)


class PluginHost:
    """The threads of all plugins, and which plugin registered which object."""

    def __init__(self, limit: float = 5.0) -> None:
        """`limit`: seconds for a call that has no limit of its own."""
        self.limit = limit
        self._workers: dict[str, _Worker] = {}  # by plugin
        self._owned: dict[int, tuple[Named, str]] = {}  # by id of the object: the object and its plugin

    def own(self, registered: Named, plugin: str) -> None:
        """Record the plugin of an object: calls of the object run in the plugin's thread."""
        self._owned[id(registered)] = (registered, plugin)

    def owner(self, registered: Named) -> str:
        """Return the plugin that registered an object."""
        return self._owned[id(registered)][1]

    def first(self, plugin: str, function: Callable[[], T], limit: float) -> T:
        """Run code of a plugin while the agent starts, blocking; raise StartError, else PluginFault."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(function())
            except StartError as error:
                done.set_exception(error)
            except BaseException as error:
                fault = PluginFault(f"{type(error).__name__}{said(error)}")
                fault.__cause__ = error
                done.set_exception(fault)

        self._worker(plugin).loop.call_soon_threadsafe(run)
        try:
            return done.result(limit)
        except TimeoutError:
            raise PluginFault(f"it is not loaded after {limit:g} s") from None

    def _worker(self, plugin: str) -> _Worker:
        if plugin not in self._workers:
            self._workers[plugin] = _Worker(plugin)
        return self._workers[plugin]

    async def call(self, registered: Named, function: Callable[[], Awaitable[T]], limit: float | None = None) -> T:
        """Run an async function of a registered object for at most `limit` seconds.

        A JobworkerError that it raises is passed on, anything else becomes PluginFault.
        """
        return await self.call_of(self.owner(registered), registered.name, function, limit)

    async def call_of(
        self, plugin: str, name: str, function: Callable[[], Awaitable[T]], limit: float | None = None
    ) -> T:
        """Run a function of a plugin that has no object; `name` is for messages."""
        limit = self.limit if limit is None else limit
        worker = self._worker(plugin)
        if worker.blocked:
            worker.faults += 1
            raise PluginFault(f"{name}: the plugin {plugin} is blocked")
        given_up, begun = threading.Event(), time.monotonic()
        future = asyncio.run_coroutine_threadsafe(_carry(name, function, given_up), worker.loop)
        answer = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait({answer}, timeout=limit)
            if answer.cancelled():
                raise PluginFault(f"{name} was cancelled by another part of the plugin")
            if done:
                return answer.result()
        except PluginFault:
            worker.faults += 1
            raise
        finally:
            worker.seconds += time.monotonic() - begun
            given_up.set()
            answer.cancel()
        worker.faults += 1
        await worker.look()
        raise PluginFault(f"{name} took more than {limit:g} s")

    async def run(self, registered: Named, function: Callable[[], T]) -> T:
        """Run a plain function of a registered object, like `call`."""

        async def call() -> T:
            return function()

        return await self.call(registered, call)

    async def free(self, plugin: str) -> None:
        """Wait until a plugin does not block its thread."""
        await self._worker(plugin).free.wait()

    async def free_soon(self, registered: Named, limit: float) -> None:
        """Wait until the plugin of an object does not block its thread, or for `limit` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self.free(self.owner(registered))

    def state(self, plugin: str) -> dict[str, Any]:
        """Return whether a plugin blocks, how many of its calls have failed, and how many tasks it runs."""
        worker = self._worker(plugin)
        return {"blocked": worker.blocked, "faults": worker.faults, "tasks": len(asyncio.all_tasks(worker.loop))}

    def seconds(self, plugin: str) -> float:
        """Return how many seconds all calls of a plugin have taken together."""
        return self._worker(plugin).seconds

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()


async def _carry(name: str, function: Callable[[], Awaitable[T]], given_up: threading.Event) -> T:
    """Await the function in the plugin's thread; raise nothing but JobworkerError, PluginFault or CancelledError."""
    try:
        return await function()
    except asyncio.CancelledError:
        if given_up.is_set():
            raise
        raise PluginFault(f"{name} raised CancelledError") from None
    except BaseException as error:
        if isinstance(error, JobworkerError) and not given_up.is_set():
            error.message = clean(str(error.message))
            raise
        log.exception("%s of %s failed", name, threading.current_thread().name)
        if given_up.is_set():
            raise asyncio.CancelledError from error  # nothing waits for it any more
        raise PluginFault(f"{name} raised {type(error).__name__}{said(error)}") from error


def said(error: BaseException) -> str:
    """Return the text of a plugin's exception as `: TEXT`, short and safe to write anywhere."""
    try:
        text = clean(str(error))
    except Exception:
        return ": its text cannot be read"
    return f": {text}" if text else ""


def clean(text: str) -> str:
    """Return a plugin's text without what JSON cannot hold, as lone surrogates from file names; shortened."""
    return text[:MAX_TEXT].encode(errors="replace").decode()
