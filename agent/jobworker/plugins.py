"""Load the plugins that the configuration names: by entry point, from an allow-list, or not at all."""

import importlib.metadata
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pluggy

from jobworker import hookspecs
from jobworker.config import Config
from jobworker.errors import StartError
from jobworker.interfaces import Authorizer, AuthProvider, PluginContext, StopStrategy, TimeoutPolicy

GROUP = "jobworker"


class Registry:
    """What the loaded plugins registered, by name."""

    def __init__(self) -> None:
        self.auth_providers: dict[str, AuthProvider] = {}
        self.authorizers: dict[str, Authorizer] = {}
        self.stop_strategies: dict[str, StopStrategy] = {}
        self.timeout_policies: dict[str, TimeoutPolicy] = {}
        self.plugins: list[dict[str, Any]] = []
        self._owners: dict[int, str] = {}

    def add(self, objects: dict[str, Any], found: Any, plugin: str) -> None:
        objects[found.name] = found
        self._owners[id(found)] = plugin

    def owner(self, registered: Any) -> str:
        """Return the name of the plugin that has registered an object."""
        return self._owners[id(registered)]


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
        ("register_authorizers", registry.authorizers),
        ("register_stop_strategies", registry.stop_strategies),
        ("register_timeout_policies", registry.timeout_policies),
    ]
    for hook, objects in kinds:
        results: list[Iterable[Any]] = manager.subset_hook_caller(hook, others)(context=context)
        for found in (item for result in results for item in result):
            if found.name in objects:
                raise StartError(f"{hook}: the name {found.name!r} is taken by another plugin")
            registry.add(objects, found, context.name)
            registered.append(f"{hook.removeprefix('register_')}:{found.name}")
    return registered


def _require(config: Config, registry: Registry) -> None:
    """Raise StartError where the configuration names an object that no plugin has registered."""
    wanted: list[tuple[str, dict[str, Any], list[str]]] = [
        ("auth.providers", registry.auth_providers, config.auth.providers),
        ("auth.authorizers", registry.authorizers, config.auth.authorizers),
        ("jobs.stop_strategy", registry.stop_strategies, [config.jobs.stop_strategy]),
    ]
    for key, objects, names in wanted:
        for name in names:
            if name not in objects:
                raise StartError(f"{key}: no plugin registers {name!r}; there are: {_names(objects)}")


def _names(objects: dict[str, Any]) -> str:
    return ", ".join(sorted(objects)) or "none"
