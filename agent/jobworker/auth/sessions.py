"""Track open sessions: limits per principal, and the end of sessions whose credentials are revoked."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol
from weakref import WeakValueDictionary

from jobworker.auth.throttle import network_of
from jobworker.config import Limits
from jobworker.errors import RateLimited
from jobworker.model import JobSummary, Principal
from jobworker.rate_limit import RateLimiter
from jobworker.tasks import Background

MAX_REQUEST_BYTES = 32 << 20  # of the large requests of one principal that are under way
MAX_RECEIVED_BYTES = 32 << 20  # of the large messages of one principal that are not complete
LARGE_BYTES_PER_SECOND = 16 << 20  # of large texts of one principal: to decode a megabyte takes up to 10 ms
MAX_REVOCATIONS = 10_000  # revoked principals remembered; beyond that the oldest is dropped


class OpenSession(Protocol):
    """What the registry, and those who look into it, need of a session: `since` is wall-clock time in ns.

    `page_session` is the id of the session of a page, see `PageSession`; empty for other clients.
    """

    id: str
    address: str
    since: int
    page_session: str

    @property
    def subscriptions(self) -> Mapping[str, Any]:
        """Those that are open."""

    @property
    def certificate(self) -> bytes:
        """The client certificate in DER; empty if the client has sent none."""

    @property
    def principal(self) -> Principal | None:
        """The caller; None until it has logged in."""

    def drop(self) -> None:
        """Take the access from the caller at once."""

    def hide(self, job: JobSummary) -> None:
        """End what shows a job that the caller may no longer see."""

    async def close(self, reason: str) -> None:
        """Take the access from the caller, and close the connection."""


class SessionRegistry:
    """The open sessions of all connections."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Sessions from the end of the upgrade to the end of the connection, logged in or not.
        self._sessions: set[OpenSession] = set()
        # Numbers of sessions that wait for `auth.login`, by network.
        self._unauthenticated: Counter[str] = Counter()
        # Tokens for requests, by the id of a principal, over all its connections.
        self._requests = RateLimiter(limits.requests_per_second, limits.requests_per_second * 2)
        # Bytes of the large requests that are under way, by the id of a principal, over all its connections.
        self._request_bytes: Counter[str] = Counter()
        # Bytes of large messages that are not complete, by the id of a principal, over all its connections.
        self._received: Counter[str] = Counter()
        # When the next large text of a principal, by its id, may be decoded, on the monotonic clock.
        self._turns: dict[str, float] = {}
        # Locks by the id of a principal; each lives as long as a call holds it or waits for it.
        self._read_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # When the credentials of a principal (provider, name) were revoked, on the monotonic clock.
        self._revoked: dict[tuple[str, str], float] = {}
        # Closing handshakes under way.
        self._tasks = Background()

    def add(self, session: OpenSession) -> None:
        self._sessions.add(session)

    def discard(self, session: OpenSession) -> None:
        self._sessions.discard(session)

    def open(self) -> list[OpenSession]:
        return [*self._sessions]

    def check_unauthenticated(self, address: str) -> None:
        """Raise RateLimited if too many sessions, of all or of this address, have not logged in."""
        full = self._unauthenticated.total() >= self._limits.unauthenticated
        if full or self._unauthenticated[network_of(address)] >= self._limits.unauthenticated_per_address:
            raise RateLimited("too many connections that have not logged in", retry_after=1)

    @contextlib.contextmanager
    def unauthenticated(self, address: str) -> Iterator[None]:
        """Count a session that has not logged in."""
        network = network_of(address)
        self._unauthenticated[network] += 1
        try:
            yield
        finally:
            self._unauthenticated[network] -= 1
            if not self._unauthenticated[network]:
                del self._unauthenticated[network]

    def check_connections(self, principal: Principal) -> None:
        """Raise RateLimited if this principal has all the connections it may have."""
        limit = self._limits.connections_per_principal
        if limit and self._connections(principal) >= limit:
            text = f"{principal.name} has {limit} connections, the most that one principal may have"
            raise RateLimited(text, hint="close one of them", retry_after=1)

    def has_too_many_connections(self, principal: Principal) -> bool:
        """Whether several logins at the same time have exceeded the limit, each checked before the others."""
        limit = self._limits.connections_per_principal
        return bool(limit) and self._connections(principal) > limit

    def _connections(self, principal: Principal) -> int:
        callers = (session.principal for session in self._sessions)
        return sum(caller is not None and caller.id == principal.id for caller in callers)

    def check_request_rate(self, principal: Principal) -> None:
        """Take a token for one request; raise RateLimited if this principal sends too many a second."""
        if not self._requests.allows(principal.id, now := time.monotonic()):
            wait = self._requests.retry_after(principal.id, now)
            rate = self._limits.requests_per_second
            raise RateLimited(
                f"{principal.name} sends more than {rate:g} requests a second", retry_after=round(wait, 3)
            )

    def reserve_request(self, principal: Principal, size: int) -> None:
        """Count the bytes of a large request until `release_request`; raise RateLimited if there are too many."""
        used = self._request_bytes[principal.id]
        if used and used + size > MAX_REQUEST_BYTES:
            text = f"the requests of {principal.name} that are under way have {used} bytes, and this one {size}"
            raise RateLimited(f"{text}; expected at most {MAX_REQUEST_BYTES} of large ones together", retry_after=1)
        self._request_bytes[principal.id] += size

    def release_request(self, principal: Principal, size: int) -> None:
        self._request_bytes[principal.id] -= size
        if not self._request_bytes[principal.id]:
            del self._request_bytes[principal.id]

    def count_received(self, principal: Principal, more: int) -> bool:
        """Count bytes of large messages that are not complete; return whether a principal may have as many."""
        self._received[principal.id] += more
        if not self._received[principal.id]:
            del self._received[principal.id]
        return more <= 0 or self._received[principal.id] <= MAX_RECEIVED_BYTES

    def turn(self, principal: Principal, size: int, cost: int) -> float:
        """Return in how many seconds a large text of a principal may be decoded, 0 for at once.

        `cost` is its size with what its lists and objects add. Until then it counts as received: a caller that waits
        calls `count_received` with the bytes below zero. Raises RateLimited if too many would wait.
        """
        now = time.monotonic()
        for one in [one for one, moment in self._turns.items() if moment <= now]:
            del self._turns[one]
        at = self._turns.get(principal.id, now)
        if at > now and not self.count_received(principal, size):
            self.count_received(principal, -size)
            raise RateLimited("too many large messages of this principal wait", retry_after=1)
        self._turns[principal.id] = at + cost / LARGE_BYTES_PER_SECOND
        return at - now

    def read_lock(self, principal: Principal) -> asyncio.Lock:
        """Return the lock for expensive reads: a principal has one at a time, so that others wait for one at most."""
        return self._read_locks.setdefault(principal.id, asyncio.Lock())

    def was_revoked(self, principal: Principal, since: float) -> bool:
        """Whether the credentials of a principal were revoked since a moment on the monotonic clock."""
        return self._revoked.get((principal.provider, principal.name), -math.inf) >= since

    def revoke(self, provider: str, name: str, spare: OpenSession | None = None) -> None:
        """Take the access from the sessions of a principal whose credentials were revoked; close all but `spare`."""
        self._revoked[provider, name] = time.monotonic()
        if len(self._revoked) > MAX_REVOCATIONS:
            del self._revoked[next(iter(self._revoked))]
        for session in self.open():
            caller = session.principal
            if caller is not None and (caller.provider, caller.name) == (provider, name):
                session.drop()
                if session is not spare:
                    self.close_revoked(session)

    def end_revoked(self, is_revoked: Callable[[bytes], bool]) -> None:
        """Take the access from the sessions whose client certificate is revoked, and close them."""
        for session in self.open():
            if session.certificate and is_revoked(session.certificate):
                session.drop()
                self.close_revoked(session)

    def end_page(self, page_session: str, spare: OpenSession) -> None:
        """Take the access from the connections of a page that has logged out; close all but `spare`."""
        for session in self.open():
            if session.page_session == page_session:
                session.drop()
                if session is not spare:
                    self.close_ended(session, "the page has logged out")

    def close_revoked(self, session: OpenSession) -> None:
        self.close_ended(session, "the credentials were revoked")

    def close_ended(self, session: OpenSession, reason: str) -> None:
        """Begin to close a session; do not wait for the closing handshake."""
        self._tasks.spawn(session.close(reason))
