"""The blocking client: the methods of `jobworker.client.Client` without asyncio, for scripts and `jw`."""

from jobworker.client.blocking.client import Client, connect

__all__ = ["Client", "connect"]
