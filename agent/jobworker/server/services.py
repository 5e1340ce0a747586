"""The parts of the agent that RPC methods use; the composition root puts them together."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jobworker.auth.admission import Admission
from jobworker.auth.audit import Audit
from jobworker.auth.authorization import Authorization
from jobworker.auth.page_logins import PageLogins
from jobworker.auth.peers import Peers
from jobworker.auth.sessions import SessionRegistry
from jobworker.config import Config
from jobworker.jobs.manager import JobManager
from jobworker.model import to_builtins
from jobworker.paths import Home
from jobworker.plugin.host import PluginHost
from jobworker.plugin.loader import Plugin, Registry
from jobworker.results import PluginInfo
from jobworker.server.health import Health
from jobworker.server.origins import Origins
from jobworker.tls.context import Tls
from jobworker.tls.revoked import Revoked
from jobworker.tokens import TokenFile
from jobworker.tracing import Tracing


@dataclass
class Services:
    """One of each for the whole agent.

    `shut_down` takes `stop` or `leave` (what happens to running jobs) or `restart`. `may_restart` raises InvalidState
    if the agent would not start again. `address` is the URL of the agent, set once it listens.
    """

    home: Home
    config: Config
    jobs: JobManager
    registry: Registry
    plugin_host: PluginHost
    audit: Audit
    admission: Admission
    sessions: SessionRegistry
    authorization: Authorization
    peers: Peers
    pages: PageLogins
    tokens: TokenFile
    shut_down: Callable[[str], None]
    may_restart: Callable[[], Awaitable[None]]
    tls: Tls
    revoked: Revoked
    origins: Origins
    address: str = ""
    started: int = field(default_factory=time.time_ns)  # when the agent started, in ns since 1970
    tracing: Tracing | None = None  # None: no spans are made

    @cached_property
    def health(self) -> Health:
        """What probes are answered."""
        return Health(self.home, self.jobs)

    def plugin(self, plugin: Plugin) -> PluginInfo:
        """Return the description of a plugin and, if it is enabled, its state."""
        described: dict[str, Any] = to_builtins(plugin)
        if plugin.enabled:
            described |= self.plugin_host.state(plugin.name)
            described["dropped"] = plugin.name in self.jobs.observers.dropped
        return PluginInfo(**described)
