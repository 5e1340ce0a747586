"""Find out what somebody may do: asked of the authorizers, once for each connection."""

import logging
from collections.abc import Sequence
from itertools import chain

from jobworker.errors import JobworkerError
from jobworker.interfaces import Authorizer, Grant
from jobworker.model import Principal
from jobworker.plugin_host import PluginFault, PluginHost
from jobworker.server.access import Access

log = logging.getLogger(__name__)

LIMIT = 5.0  # seconds that one authorizer may take


class Authorization:
    """The authorizers in configured order."""

    def __init__(self, authorizers: Sequence[Authorizer], host: PluginHost) -> None:
        self._authorizers = authorizers
        self._host = host

    @property
    def roles(self) -> list[str]:
        """The roles that some authorizer knows by name."""
        return sorted(set(chain.from_iterable(getattr(each, "roles", ()) for each in self._authorizers)))

    async def access(self, principal: Principal) -> Access:
        """Return what the first authorizer says that has an answer; one that fails allows nothing."""
        for authorizer in self._authorizers:
            try:
                grants = await self._ask(authorizer, principal)
            except (PluginFault, JobworkerError) as error:
                log.error("authorizer %s: %s; %s may do nothing", authorizer.name, error, principal.id)
                grants = []
            if grants is not None:
                return Access(principal, grants)
        return Access(principal, [])

    async def _ask(self, authorizer: Authorizer, principal: Principal) -> list[Grant] | None:
        found = await self._host.call(authorizer, lambda: authorizer.grants(principal), LIMIT)
        if found is None:
            return None
        if not isinstance(found, list | tuple) or not all(isinstance(one, Grant) for one in found):
            raise PluginFault(f"it returned {type(found).__name__}; expected a list of Grant")
        return list(found)
