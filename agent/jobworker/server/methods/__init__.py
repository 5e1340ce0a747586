"""One function for each RPC method; importing this package registers all of them."""

from jobworker.server.methods import (
    agent,
    audit,
    auth,
    event,
    job,
    log,
    log_search,
    plugin,
    rpc,
    screen,
    session,
    stdin,
)

__all__ = [
    "agent",
    "audit",
    "auth",
    "event",
    "job",
    "log",
    "log_search",
    "plugin",
    "rpc",
    "screen",
    "session",
    "stdin",
]
