"""jobworker: run any Linux process on a host for people and programs that are not on that host.

Names are loaded when they are first used, so that a client never imports what only the agent needs.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobworker._hookimpl import hookimpl
    from jobworker.client import connect

__version__ = "0.1.0"
__all__ = ["__version__", "connect", "hookimpl"]

_MODULES = {"hookimpl": "jobworker._hookimpl", "connect": "jobworker.client"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'jobworker' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
