"""Modules that are imported when they are first used: `jw` is faster without the types that it does not need."""

from importlib import import_module
from typing import Any


class Lazy:
    """Stands for a module; to mypy it is that module, see `verbs`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self._name), name)
        setattr(self, name, value)  # asked for once
        return value
