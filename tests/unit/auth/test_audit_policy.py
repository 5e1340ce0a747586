"""Which calls are audited: whoever adds a method decides on it."""

import importlib

from jobworker.auth.audit_policy import CHANGES
from jobworker.server.dispatch import METHODS

READS = {
    *("agent.info", "agent.ping", "auth.login", "auth.whoami", "plugin.list", "rpc.discover"),
    *("event.subscribe", "event.unsubscribe", "log.lines", "log.read", "log.search"),
    *("log.sizes", "log.subscribe", "log.unsubscribe", "screen.read"),
    *("job.explain", "job.list", "job.stats", "job.status", "job.wait", "session.list", "token.list"),
    *("agent.garbage", "agent.health", "audit.list"),
}


def test_each_method_is_a_read_or_is_audited() -> None:
    """Admission audits logins by itself."""
    importlib.import_module("jobworker.server.methods")
    assert set(METHODS) - CHANGES == READS
