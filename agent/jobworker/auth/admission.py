"""Let people in: ask who they are, write it down, slow down who guesses, and know who is in."""

import asyncio
import contextlib
import hashlib
import ipaddress
import math
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from jobworker.auth.audit import Audit
from jobworker.auth.authentication import Authenticator
from jobworker.config import Limits
from jobworker.errors import RateLimited, RpcError
from jobworker.interfaces import Credentials
from jobworker.model import Principal
from jobworker.rate_limit import RateLimiter
from jobworker.tasks import Background

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
        self._failures = RateLimiter(limits.failed_logins / 60, limits.failed_logins)
        self._guesses: dict[str, set[asyncio.Future[None]]] = {}  # under way, by where they come from
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # of principals who read
        self._turned_away = RateLimiter(limits.failed_logins / 60, limits.failed_logins)
        self._requests = RateLimiter(limits.requests_per_second, limits.requests_per_second * 2)
        self._salt = secrets.token_bytes(16)
        self._good: dict[bytes, None] = {}
        self._revoked: dict[tuple[str, str], float] = {}  # when
        self.sessions: set[Session] = set()
        self._tasks = Background()
        self.strangers = 0  # sessions that have not logged in

    async def admit(self, *credentials: Credentials, method: str) -> Principal:
        """Return who it is; raise Unauthenticated, or RateLimited for one of too many guesses from an address."""
        address, mark = credentials[0].address, self._mark(credentials)
        async with self._paid(_network(address), known=mark in self._good):
            try:
                principal = await self._authenticator.authenticate(*credentials)
                self.check_principal(principal)
            except RpcError as error:
                if not isinstance(error, RateLimited):
                    self._good.pop(mark, None)
                self._audit.note("refused", None, address, method, reason=error.message)
                raise
        self._good[mark] = None
        if len(self._good) > GOOD:
            del self._good[next(iter(self._good))]
        self._audit.note("login", principal, address, method)
        return principal

    @contextlib.asynccontextmanager
    async def _paid(self, network: str, *, known: bool) -> AsyncIterator[None]:
        """Have a guess paid for before anybody is asked, or many at once were had for the price of one.

        What turns out to be none is paid back; who finds nothing left while others of the address are being checked
        waits for how those end.
        """
        while not known and not self._failures.allows(network, now := time.monotonic()):
            if not (others := self._guesses.get(network)):
                wait = self._failures.retry_after(network, now)
                raise RateLimited("too many failed logins from this address", retry_after=math.ceil(wait))
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        over = asyncio.get_running_loop().create_future()
        guesses = self._guesses.setdefault(network, set())
        guesses.add(over)
        failed = True
        try:
            yield
            failed = False
        except RateLimited:
            failed = False
            raise
        finally:
            if failed and known:
                self._failures.allows(network, time.monotonic())
            elif not failed and not known:
                self._failures.refund(network, time.monotonic())
            guesses.discard(over)
            if not guesses:
                self._guesses.pop(network, None)
            over.set_result(None)

    def turn_away(self, address: str, reason: str) -> None:
        """Write down a caller who was refused before anybody asked who that is; not each of very many.

        They would wash out all other lines.
        """
        if self._turned_away.allows(_network(address), time.monotonic()):
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

    def turn(self, principal: Principal) -> asyncio.Lock:
        """Return what a principal holds while it reads what costs time, so that others wait for one call of its."""
        return self._turns.setdefault(principal.id, asyncio.Lock())

    def check_request(self, principal: Principal) -> None:
        """Raise RateLimited where this principal asks more often than it may."""
        if not self._requests.allows(principal.id, now := time.monotonic()):
            wait = self._requests.retry_after(principal.id, now)
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


def _network(address: str) -> str:
    """Return what one caller has: its IPv4 address, or of an IPv6 address the 64 bits that it cannot choose."""
    host = ipaddress.ip_address(address.rpartition(":")[0].strip("[]").partition("%")[0])
    if not isinstance(host, ipaddress.IPv6Address):
        return str(host)
    return str(host.ipv4_mapped or ipaddress.ip_network((int(host), 64), strict=False))
