"""Load the plugins that the configuration names, and run their code in a thread of its own."""

import asyncio
import importlib.metadata
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pluggy

from jobworker import hookspecs
from jobworker.config import Config
from jobworker.errors import JobworkerError, StartError
from jobworker.interfaces import AuthProvider, PluginContext, StopStrategy, TimeoutPolicy

log = logging.getLogger(__name__)

GROUP = "jobworker"
T = TypeVar("T")


class Registry:
    """What the loaded plugins registered, by name."""

    def __init__(self) -> None:
        self.auth_providers: dict[str, AuthProvider] = {}
        self.stop_strategies: dict[str, StopStrategy] = {}
        self.timeout_policies: dict[str, TimeoutPolicy] = {}
        self.plugins: list[dict[str, Any]] = []


def load(config: Config, state: Path) -> Registry:
    """Load what the allow-list names; raise StartError, naming the plugin and the reason, for any fault."""
    available = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    manager = pluggy.PluginManager("jobworker")
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    for name in config.enabled_plugins:
        point = available.get(name)
        if point is None:
            raise StartError(
                f"plugins.enabled: {name!r} is not installed; there are: {', '.join(sorted(available))}",
                hint="pip install the package that provides it, or take it off the list",
            )
        package = point.dist.name if point.dist else "?"
        version = point.dist.version if point.dist else "?"
        what = f"plugin {name!r} ({package} {version})"
        try:
            module = point.load()
            manager.register(module, name)
            manager.check_pending()
            context = PluginContext(name, config.plugins.get(name, {}), state, logging.getLogger(f"plugin.{name}"))
            others = [other for other in manager.get_plugins() if other is not module]
            registered = _register(manager, others, context, registry)
        except StartError as error:
            raise StartError(f"{what}: {error.message}", hint=error.hint) from error
        except (Exception, SystemExit) as error:
            raise StartError(f"{what}: {type(error).__name__}: {error}") from error
        registry.plugins.append({"name": name, "package": package, "version": version, "registers": registered})
    _require(config, registry)
    return registry


def _register(
    manager: pluggy.PluginManager, others: list[Any], context: PluginContext, registry: Registry
) -> list[str]:
    """Ask one plugin for its objects: each sees a context of its own."""
    registered = []
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("register_auth_providers", registry.auth_providers),
        ("register_stop_strategies", registry.stop_strategies),
        ("register_timeout_policies", registry.timeout_policies),
    ]
    for hook, objects in kinds:
        results: list[Iterable[Any]] = manager.subset_hook_caller(hook, others)(context=context)
        for found in (item for result in results for item in result):
            if found.name in objects:
                raise StartError(f"{hook}: the name {found.name!r} is taken by another plugin")
            objects[found.name] = found
            registered.append(f"{hook.removeprefix('register_')}:{found.name}")
    return registered


def _require(config: Config, registry: Registry) -> None:
    for name in config.auth.providers:
        if name not in registry.auth_providers:
            raise StartError(
                f"auth.providers: no plugin registers {name!r}; there are: {_names(registry.auth_providers)}"
            )
    if (strategy := config.jobs.stop_strategy) not in registry.stop_strategies:
        raise StartError(
            f"jobs.stop_strategy: no plugin registers {strategy!r}; there are: {_names(registry.stop_strategies)}"
        )


def _names(objects: dict[str, Any]) -> str:
    return ", ".join(sorted(objects)) or "none"


class PluginFault(Exception):
    """Plugin code raised, took too long or returned something else than it should."""


class PluginHost:
    """The thread and the loop in which all plugin code runs, so that it cannot block the agent's."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="plugins", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._closing:
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):  # of a task that a plugin started by itself
                log.exception("a plugin asked to end the process; it goes on")

    async def call(self, name: str, function: Callable[[], Awaitable[T]], limit: float) -> T:
        """Run an async function of the plugin object `name` for at most `limit` seconds.

        A JobworkerError that it raises is passed on, anything else becomes PluginFault.
        """

        async def carry() -> T:
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

        expired = threading.Event()
        future = asyncio.run_coroutine_threadsafe(carry(), self._loop)
        try:
            async with asyncio.timeout(limit):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise PluginFault(f"{name} took more than {limit:g} s") from error
        finally:
            expired.set()
            future.cancel()

    async def run(self, name: str, function: Callable[[], T], limit: float = 5.0) -> T:
        """The same for a plain function."""

        async def call() -> T:
            return function()

        return await self.call(name, call, limit)

    async def close(self) -> None:
        self._closing = True
        self._loop.call_soon_threadsafe(self._loop.stop)
