"""One function per RPC method; importing this package registers all of them."""

from jobworker.server.methods import agent, auth, job, later, log

__all__ = ["agent", "auth", "job", "later", "log"]
