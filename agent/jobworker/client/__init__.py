"""The client library: `connect` to an agent, run jobs, follow their logs over lost connections."""

from jobworker.client.client import Client, connect
from jobworker.client.events import Events
from jobworker.client.local import Target, ensure_local_agent
from jobworker.client.subscription import LogChunk, LogPage, Subscription

__all__ = ["Client", "Events", "LogChunk", "LogPage", "Subscription", "Target", "connect", "ensure_local_agent"]
