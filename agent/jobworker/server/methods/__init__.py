"""One function for each RPC method; importing this package registers all of them."""

from jobworker.server.methods import agent, auth, event, job, log, log_search, plugin, rpc, session, stdin

__all__ = ["agent", "auth", "event", "job", "log", "log_search", "plugin", "rpc", "session", "stdin"]
