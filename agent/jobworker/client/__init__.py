"""The client library: `connect` to an agent, run jobs, follow their logs over lost connections.

Names are loaded when they are first used: websockets and asyncio take longer to import than `jw version` to run.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobworker.client.blocking.client import connect as connect_blocking
    from jobworker.client.client import Client, connect
    from jobworker.client.completed import Completed
    from jobworker.client.endpoint import Endpoint
    from jobworker.client.events import Events
    from jobworker.client.input import JobInput
    from jobworker.client.local import ensure_local_agent
    from jobworker.client.logs import LogChunk, LogPage
    from jobworker.client.process import Output, Process
    from jobworker.client.subscription import Subscription

__all__ = [
    "Client",
    "Completed",
    "Endpoint",
    "Events",
    "JobInput",
    "LogChunk",
    "LogPage",
    "Output",
    "Process",
    "Subscription",
    "connect",
    "connect_blocking",
    "ensure_local_agent",
]

# The module of each name; of `connect_blocking` with its name there.
_HOMES = {
    "Client": "client",
    "Completed": "completed",
    "Endpoint": "endpoint",
    "Events": "events",
    "JobInput": "input",
    "LogChunk": "logs",
    "LogPage": "logs",
    "Output": "process",
    "Process": "process",
    "Subscription": "subscription",
    "connect": "client",
    "connect_blocking": "blocking.client:connect",
    "ensure_local_agent": "local",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jobworker.client' has no attribute {name!r}")
    from importlib import import_module

    module, _, inner = _HOMES[name].partition(":")
    return getattr(import_module(f"jobworker.client.{module}"), inner or name)
