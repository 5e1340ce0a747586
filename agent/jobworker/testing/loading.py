"""Load a plugin as the agent does, without an agent."""

import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from jobworker.plugin.host import PluginHost
from jobworker.plugin.loader import GROUP, Loader, Plugin, Registry, installed


def load(module: ModuleType, settings: dict[str, Any] | None = None, *, state: Path | None = None) -> Registry:
    """Return what a plugin registers with these settings; raise jobworker.errors.StartError as the agent does.

    `settings` is the table `[plugins.NAME]`. NAME is the name of the plugin's entry point, or the last part of the
    module's name if the plugin is not installed. `state` is the state folder, by default the folder for temporary
    files. `stop_strategies`, `auth_providers` and so on of the result are dicts by name, `observers` by NAME.
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
