"""Admission control: authenticate callers, throttle failed logins, audit the outcome."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

from jobworker.auth.audit import Audit
from jobworker.auth.authentication import Authenticator
from jobworker.auth.page_logins import Page, PageLogins
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
        pages: PageLogins,
    ) -> None:
        """`recognizes` returns whether credentials are valid, if finding out costs no more than a hash."""
        self._authenticator = authenticator
        self._pages = pages
        self._peers = peers
        self._audit = audit
        self._sessions = sessions
        self._throttle = LoginThrottle(limits, recognizes)
        # Audit lines for refused upgrades, by network: more of them would push all other lines out of the log.
        self._refusals = RateLimiter(limits.failed_logins / 60, limits.failed_logins)

    async def admit(self, *credentials: Credentials, method: str) -> Principal:
        """Return the caller; raise Unauthenticated, or RateLimited after too many failed logins or connections."""
        async with self._attempt(credentials, method):
            principal = await self._authenticator.authenticate(*credentials)
            self._sessions.check_connections(principal)
        self._audit.note("login", principal, credentials[0].address, method)
        return principal

    async def admit_page(self, credentials: Credentials, origin: str, method: str) -> Page:
        """Return the caller in a page of this origin, by a ticket or the secret of a session, as `admit` does."""
        async with self._attempt([credentials], method):
            page = self._pages.log_in(credentials, origin)
            self._sessions.check_connections(page.principal)
        self._audit.note("login", page.principal, credentials.address, method, reason=f"by a {credentials.scheme}")
        return page

    @contextlib.asynccontextmanager
    async def _attempt(self, credentials: Sequence[Credentials], method: str) -> AsyncIterator[None]:
        """Enclose the check of credentials: throttle failed logins, and audit them."""
        async with self._throttle.attempt(credentials):
            try:
                yield
            except RpcError as error:
                self._audit.note("refused", None, credentials[0].address, method, reason=error.message)
                raise

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
        self._pages.revoke(provider, name)
        self._sessions.revoke(provider, name, spare)
