"""Load a plugin as the agent would, without one."""

import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from jobworker.plugin.host import PluginHost
from jobworker.plugin.loader import GROUP, Loader, Plugin, Registry, installed


def load(module: ModuleType, settings: dict[str, Any] | None = None, *, state: Path | None = None) -> Registry:
    """Return what a plugin registers with these settings; raise jobworker.errors.StartError as the agent would.

    `settings` is the table `[plugins.NAME]`, NAME being that of the module's entry point where it is installed, else
    the last part of its own; `state` stands for the agent's state folder. In the result, `stop_strategies`,
    `auth_providers` and so on are dicts by name, `observers` by NAME.
    """
    points = (point for points in installed().values() for point, _ in points if point.value == module.__name__)
    name = next((point.name for point in points), module.__name__.rpartition(".")[2])
    host = PluginHost()
    loader = Loader({name: settings or {}}, state or Path(tempfile.gettempdir()), host)
    try:
        loader.load(EntryPoint(name, module.__name__, GROUP), Plugin(name, "under test", "0"))
    finally:
        host.close()
    return loader.registry
