"""Admission control: authenticate callers, throttle failed logins, audit the outcome."""

import time
from collections.abc import Callable

from jobworker.auth.audit import Audit
from jobworker.auth.authentication import Authenticator
from jobworker.auth.peers import Peers
from jobworker.auth.sessions import OpenSession, SessionRegistry
from jobworker.auth.throttle import LoginThrottle, network_of
from jobworker.config import Limits
from jobworker.errors import RpcError
from jobworker.interfaces import Credentials
from jobworker.model import Principal
from jobworker.rate_limit import RateLimiter


class Admission:
    """Decides which callers get a session; one for all connections."""

    def __init__(
        self,
        limits: Limits,
        authenticator: Authenticator,
        audit: Audit,
        sessions: SessionRegistry,
        peers: Peers,
        recognizes: Callable[[Credentials], bool],
    ) -> None:
        """`recognizes` returns whether credentials are valid, if finding out costs no more than a hash."""
        self._authenticator = authenticator
        self._peers = peers
        self._audit = audit
        self._sessions = sessions
        self._throttle = LoginThrottle(limits, recognizes)
        # Audit lines for refused upgrades, by network: more of them would push all other lines out of the log.
        self._refusals = RateLimiter(limits.failed_logins / 60, limits.failed_logins)

    async def admit(self, *credentials: Credentials, method: str) -> Principal:
        """Return the caller; raise Unauthenticated, or RateLimited after too many failed logins or connections."""
        address = credentials[0].address
        async with self._throttle.attempt(credentials):
            try:
                principal = await self._authenticator.authenticate(*credentials)
                self._sessions.check_connections(principal)
            except RpcError as error:
                self._audit.note("refused", None, address, method, reason=error.message)
                raise
        self._audit.note("login", principal, address, method)
        return principal

    def admit_peer(self, uid: int, address: str) -> Principal:
        """Return the caller on the Unix socket, by its user; raise Unauthenticated, or RateLimited."""
        try:
            principal = self._peers.admit(uid)
            self._sessions.check_connections(principal)
        except RpcError as error:
            self._audit.note("refused", None, address, "upgrade", reason=error.message)
            raise
        self._audit.note("login", principal, address, "upgrade")
        return principal

    def note_refusal(self, address: str, reason: str) -> None:
        """Audit an upgrade that was refused before any credentials were checked."""
        if self._refusals.allows(network_of(address), time.monotonic()):
            self._audit.note("refused", None, address, "upgrade", reason=reason)

    def revoke(self, provider: str, name: str, spare: OpenSession | None = None) -> None:
        """Take the access from the sessions of a principal whose credentials were revoked; close all but `spare`."""
        self._sessions.revoke(provider, name, spare)
