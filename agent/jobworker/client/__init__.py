"""The client library: `connect` to an agent, run jobs, follow their logs over lost connections.

Names are loaded when they are first used: websockets and asyncio take longer to import than `jw version` to run.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobworker.client.client import Client, connect
    from jobworker.client.endpoint import Endpoint
    from jobworker.client.events import Events
    from jobworker.client.local import ensure_local_agent
    from jobworker.client.subscription import LogChunk, LogPage, Subscription

__all__ = ["Client", "Endpoint", "Events", "LogChunk", "LogPage", "Subscription", "connect", "ensure_local_agent"]

_HOMES = {
    "Client": "client",
    "Endpoint": "endpoint",
    "Events": "events",
    "LogChunk": "subscription",
    "LogPage": "subscription",
    "Subscription": "subscription",
    "connect": "client",
    "ensure_local_agent": "local",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jobworker.client' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"jobworker.client.{_HOMES[name]}"), name)
