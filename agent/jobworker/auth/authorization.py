"""Authorize a principal: ask the authorizers for its grants, once for each connection."""

import logging
from collections.abc import Sequence
from copy import deepcopy

import msgspec

from jobworker.auth.access import Permissions
from jobworker.auth.peers import Peers
from jobworker.errors import JobworkerError
from jobworker.interfaces import Authorizer, Grant
from jobworker.model import Principal
from jobworker.plugin.host import PluginFault, PluginHost

log = logging.getLogger(__name__)

MAX_GRANTS = 1000  # grants of one principal; more are ignored, since each call reads all of them


class Authorization:
    """The authorizers in configured order."""

    def __init__(self, authorizers: Sequence[Authorizer], host: PluginHost, peers: Peers) -> None:
        self._authorizers = authorizers
        self._peers = peers
        # Runs the authorizers in threads of their own, with a time limit.
        self._host = host

    async def permissions(self, principal: Principal) -> Permissions:
        """Return the answer of the first authorizer that has one; an authorizer that fails grants nothing."""
        if (local := self._peers.grants(principal)) is not None:
            return Permissions(principal, local)
        for authorizer in self._authorizers:
            try:
                grants = await self._ask(authorizer, principal)
            except (PluginFault, JobworkerError) as error:
                log.error("authorizer %s: %s; %s may do nothing", authorizer.name, error, principal.id)
                grants = []
            if grants is not None:
                return Permissions(principal, grants)
        return Permissions(principal, [])

    async def _ask(self, authorizer: Authorizer, principal: Principal) -> list[Grant] | None:
        copy = deepcopy(principal)  # a plugin that changes its argument does not change our roles
        grants = await self._host.call(authorizer, lambda: authorizer.grants(copy))
        if grants is None:
            return None
        if not isinstance(grants, list | tuple) or not all(isinstance(grant, Grant) for grant in grants):
            raise PluginFault(f"it returned {type(grants).__name__}; expected a list of Grant")
        try:
            return msgspec.convert([vars(grant) for grant in grants[:MAX_GRANTS]], list[Grant])
        except msgspec.ValidationError as error:
            raise PluginFault(f"it returned an invalid Grant: {error}") from error
