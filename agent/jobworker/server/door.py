"""Let people in: ask who they are, write it down, slow down who guesses, and know who is in."""

import hashlib
import math
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobworker.background import Background
from jobworker.config import Limits
from jobworker.errors import RateLimited, RpcError
from jobworker.interfaces import Credentials
from jobworker.model import Principal
from jobworker.server.audit import Audit
from jobworker.server.authentication import Authenticator
from jobworker.server.rates import Rates

if TYPE_CHECKING:
    from jobworker.server.session import Session

GOOD = 10_000  # credentials that are remembered as good


class Door:
    """One for all connections.

    Credentials that were good a while ago are let through to the providers whatever else comes from the
    same address: nobody is locked out by a neighbour.
    """

    def __init__(self, limits: Limits, authenticator: Authenticator, audit: Audit) -> None:
        self._limits = limits
        self._authenticator = authenticator
        self._audit = audit
        self._failures = Rates(limits.failed_logins / 60, limits.failed_logins)
        self._turned_away = Rates(limits.failed_logins / 60, limits.failed_logins)
        self._requests = Rates(limits.requests_per_second, limits.requests_per_second * 2)
        self._salt = secrets.token_bytes(16)
        self._good: dict[bytes, None] = {}
        self._revoked: dict[tuple[str, str], float] = {}  # when
        self.sessions: set[Session] = set()
        self._tasks = Background()
        self.strangers = 0  # sessions that have not logged in

    async def admit(self, *credentials: Credentials, method: str) -> Principal:
        """Return who it is; raise Unauthenticated, or RateLimited for one of too many guesses from an address."""
        address, mark = credentials[0].address, self._mark(credentials)
        if mark not in self._good and (wait := self._failures.wait(_host(address), time.monotonic())):
            raise RateLimited("too many failed logins from this address", retry_after=math.ceil(wait))
        try:
            principal = await self._authenticator.authenticate(*credentials)
            self.check_principal(principal)
        except RpcError as error:
            if not isinstance(error, RateLimited):
                self._good.pop(mark, None)
                self._failures.take(_host(address), time.monotonic())
            self._audit.note("refused", None, address, method, reason=error.message)
            raise
        self._good[mark] = None
        if len(self._good) > GOOD:
            del self._good[next(iter(self._good))]
        self._audit.note("login", principal, address, method)
        return principal

    def turn_away(self, address: str, reason: str) -> None:
        """Write down a caller who was refused before anybody asked who that is; not each of very many."""
        if not self._turned_away.take(_host(address), time.monotonic()):  # else they would wash out all other lines
            self._audit.note("refused", None, address, "upgrade", reason=reason)

    def _mark(self, credentials: Sequence[Credentials]) -> bytes:
        parts = [part for each in credentials for part in (each.token, each.username, each.password)]
        hashed = hashlib.blake2b(key=self._salt, digest_size=16)
        for part in [*(part.encode(errors="surrogatepass") for part in parts), *(c.certificate for c in credentials)]:
            hashed.update(len(part).to_bytes(4) + part)
        return hashed.digest()

    def check_stranger(self) -> None:
        """Raise RateLimited where too many are in that have not logged in."""
        if self.strangers >= self._limits.unauthenticated:
            raise RateLimited("too many connections that have not logged in", retry_after=1)

    def check_principal(self, principal: Principal) -> None:
        """Raise RateLimited where this principal has all the connections it may have."""
        limit = self._limits.connections_per_principal
        if limit and self._connections(principal) >= limit:
            raise RateLimited(f"{principal.name} has {limit} connections; expected at most that", retry_after=1)

    def has_too_many(self, principal: Principal) -> bool:
        """Whether more have got in at once than one principal may have."""
        limit = self._limits.connections_per_principal
        return bool(limit) and self._connections(principal) > limit

    def _connections(self, principal: Principal) -> int:
        return sum(session.is_of(principal) for session in self.sessions)

    def check_request(self, principal: Principal) -> None:
        """Raise RateLimited where this principal asks more often than it may."""
        if wait := self._requests.take(principal.id, time.monotonic()):
            rate = self._limits.requests_per_second
            raise RateLimited(
                f"{principal.name} sends more than {rate:g} requests a second", retry_after=round(wait, 3)
            )

    def was_revoked(self, principal: Principal, since: float) -> bool:
        """Whether the credentials of a principal have been revoked since a connection was opened with them."""
        return self._revoked.get((principal.provider, principal.name), -math.inf) >= since

    def throw_out(self, provider: str, name: str, spare: "Session | None" = None) -> None:
        """Close the connections of a principal whose credentials are no longer good, but for one."""
        self._good.clear()
        self._revoked[provider, name] = time.monotonic()
        if len(self._revoked) > GOOD:
            del self._revoked[next(iter(self._revoked))]
        for session in self.sessions:
            if (
                session is not spare
                and session.logged_in
                and (session.caller.provider, session.caller.name) == (provider, name)
            ):
                self.close(session)

    def close(self, session: "Session") -> None:
        self._tasks.spawn(session.end("the credentials were revoked"))


def _host(address: str) -> str:
    return address.rpartition(":")[0]
