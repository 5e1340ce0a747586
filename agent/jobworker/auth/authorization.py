"""Find out what somebody may do: asked of the authorizers, once for each connection."""

import logging
from collections.abc import Sequence
from copy import deepcopy

import msgspec

from jobworker.auth.access import Permissions
from jobworker.errors import JobworkerError
from jobworker.interfaces import Authorizer, Grant
from jobworker.model import Principal
from jobworker.plugin.host import PluginFault, PluginHost

log = logging.getLogger(__name__)

MAX_GRANTS = 1000  # grants of one principal that are looked at


class Authorization:
    """The authorizers in configured order."""

    def __init__(self, authorizers: Sequence[Authorizer], host: PluginHost) -> None:
        self._authorizers = authorizers
        self._host = host

    async def permissions(self, principal: Principal) -> Permissions:
        """Return what the first authorizer says that has an answer; one that fails allows nothing."""
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
        shown = deepcopy(principal)  # what it does to that changes nobody's roles
        found = await self._host.call(authorizer, lambda: authorizer.grants(shown))
        if found is None:
            return None
        if not isinstance(found, list | tuple) or not all(isinstance(one, Grant) for one in found):
            raise PluginFault(f"it returned {type(found).__name__}; expected a list of Grant")
        try:
            return msgspec.convert([vars(one) for one in found[:MAX_GRANTS]], list[Grant])
        except msgspec.ValidationError as error:
            raise PluginFault(f"it returned a Grant that is none: {error}") from error
