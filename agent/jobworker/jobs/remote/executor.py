"""Call an executor: each call with a limit, and with a check of what it returns."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar

from jobworker.errors import JobworkerError, StartError
from jobworker.executors import Executor, ExecutorUnavailable, Need, Sighting
from jobworker.plugin.host import PluginFault, PluginHost, clean

CALL_LIMITS = 6  # times the limit of a call into a plugin, that an engine may take for an answer
SETTLE_SECONDS = 2.0  # for which the end of the agent waits for calls
MAX_ID = 200  # characters of an engine's id
T = TypeVar("T")


class EngineCalls:
    """The calls of one executor. Each raises ExecutorUnavailable for a plugin that fails, too."""

    def __init__(self, name: str, executor: Executor | None, host: PluginHost) -> None:
        """`executor`: None if no plugin registers it any more."""
        self.name = name
        self.executor = executor
        self._host = host
        self._under_way: set[asyncio.Future[Any]] = set()  # calls that the plugin has not ended

    async def submit(
        self, tag: str, command: Sequence[str], folder: str, need: Need, options: Mapping[str, Any]
    ) -> str:
        """Return the engine's id; raise StartError if the engine refuses the job for good."""
        engine_id = await self._call(lambda each: each.submit(tag, list(command), folder, need, deepcopy(options)))
        return self._id(engine_id)

    async def find(self, prefix: str) -> dict[str, str]:
        """Return the engine's ids of its jobs by tag, of those that begin with the prefix."""
        found = self._mapping(await self._call(lambda each: each.find(prefix)))
        return {str(tag): self._id(engine_id) for tag, engine_id in found.items() if str(tag).startswith(prefix)}

    async def poll(self, jobs: Mapping[str, str]) -> dict[str, Sighting]:
        """Return what the engine knows of these jobs, by tag."""
        found = self._mapping(await self._call(lambda each: each.poll(dict(jobs))))
        return {tag: self._sighting(found[tag]) for tag in jobs if tag in found}

    async def ring(self, tag: str, engine_id: str) -> None:
        await self._call(lambda each: each.ring(tag, engine_id))

    async def cancel(self, tag: str, engine_id: str) -> None:
        await self._call(lambda each: each.cancel(tag, engine_id))

    async def _call(self, call: Callable[[Executor], Awaitable[T]]) -> T:
        executor = self.executor
        if executor is None:
            raise ExecutorUnavailable(f"no plugin registers the executor {self.name!r}")
        limit = CALL_LIMITS * self._host.limit
        work = asyncio.ensure_future(self._host.call(executor, lambda: call(executor), limit))
        self._under_way.add(work)
        work.add_done_callback(self._ended)
        try:
            return await asyncio.shield(work)
        except (StartError, ExecutorUnavailable):
            raise
        except (PluginFault, JobworkerError) as error:
            raise ExecutorUnavailable(str(error)) from error

    def _ended(self, work: asyncio.Future[Any]) -> None:
        self._under_way.discard(work)
        if not work.cancelled():
            work.exception()  # marks it as retrieved: perhaps nothing waits for it

    async def settle(self) -> None:
        """Wait for the calls that are under way, for a moment: a plugin's loop must outlive its processes."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=SETTLE_SECONDS)

    def _mapping(self, found: Any) -> Mapping[Any, Any]:
        if not isinstance(found, Mapping):
            raise ExecutorUnavailable(f"{self.name}: it returned {type(found).__name__}; expected a mapping")
        return found

    def _id(self, engine_id: Any) -> str:
        if not isinstance(engine_id, str) or not 0 < len(engine_id) <= MAX_ID:
            raise ExecutorUnavailable(f"{self.name}: {str(engine_id)[:80]!r}; expected the engine's id as a text")
        return clean(engine_id)

    def _sighting(self, found: Any) -> Sighting:
        if not isinstance(found, Sighting):
            raise ExecutorUnavailable(f"{self.name}: it returned {type(found).__name__}; expected a Sighting")
        return Sighting(
            found.phase,
            clean(str(found.node)),
            clean(str(found.reason)),
            found.starts if isinstance(found.starts, int | float) else None,
            found.exit_code if isinstance(found.exit_code, int) else None,
            found.signal if isinstance(found.signal, int) else None,
        )


async def quietly(call: Awaitable[None]) -> str:
    """Await a call whose failure changes nothing; return the reason if it fails."""
    try:
        await call
    except JobworkerError as error:
        return error.message
    except asyncio.CancelledError:
        raise
    return ""
