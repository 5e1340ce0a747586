"""Throttle failed logins per network, and let credentials that were valid recently pass."""

import asyncio
import contextlib
import hashlib
import ipaddress
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from jobworker.config import Limits
from jobworker.errors import RateLimited, RpcError
from jobworker.interfaces import Credentials
from jobworker.rate_limit import RateLimiter

MAX_KNOWN_CREDENTIALS = 10_000  # fingerprints of valid credentials kept; beyond that the oldest is dropped


class LoginThrottle:
    """Limits failed logins for each network.

    Credentials that were valid recently reach the providers whatever else comes from the same network: a
    neighbour who guesses locks no one out. So do those that `recognizes` finds valid.
    """

    def __init__(self, limits: Limits, recognizes: Callable[[Credentials], bool] = lambda credentials: False) -> None:
        self._recognizes = recognizes
        # Tokens for failed logins, by network; `limits.failed_logins` is a number a minute.
        self._failures = RateLimiter(limits.failed_logins / 60, limits.failed_logins)
        # Attempts under way by network, so that a caller without a token can wait for one to be refunded.
        self._attempts: dict[str, set[asyncio.Future[None]]] = {}
        # Key of the fingerprints, new at each start: outside this process they identify nothing.
        self._salt = secrets.token_bytes(16)
        # Fingerprints of credentials that were valid, the oldest first; a dict, for its order.
        self._known: dict[bytes, None] = {}

    @contextlib.asynccontextmanager
    async def attempt(self, credentials: Sequence[Credentials]) -> AsyncIterator[None]:
        """Enclose the check of credentials; raise RateLimited after too many failed logins from their network.

        Take a token before checking credentials; otherwise N parallel guesses would cost one token. A login
        that succeeds gets its token back, so a caller who finds none left waits for the attempts under way.
        """
        network, fingerprint = network_of(credentials[0].address), self._fingerprint(credentials)
        known = fingerprint in self._known or all(map(self._recognizes, credentials))
        if not known:
            await self._take_token(network)
        with self._under_way(network):
            try:
                yield
            except RateLimited:  # the credentials were not checked
                self._refund(network, known=known)
                raise
            except BaseException as error:
                if known:  # no longer valid: this attempt has taken no token yet
                    self._failures.allows(network, time.monotonic())
                if isinstance(error, RpcError):
                    self._known.pop(fingerprint, None)
                raise
            self._refund(network, known=known)
        self._known[fingerprint] = None
        if len(self._known) > MAX_KNOWN_CREDENTIALS:
            del self._known[next(iter(self._known))]

    async def _take_token(self, network: str) -> None:
        """Wait while attempts under way may still give tokens back; raise RateLimited if none is left after them."""
        while not self._failures.allows(network, now := time.monotonic()):
            if not (attempts := self._attempts.get(network)):
                wait = self._failures.retry_after(network, now)
                raise RateLimited("too many failed logins from this address", retry_after=math.ceil(wait))
            await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)

    @contextlib.contextmanager
    def _under_way(self, network: str) -> Iterator[None]:
        """Register an attempt until it has ended and its token, if any, is back."""
        ended = asyncio.get_running_loop().create_future()
        attempts = self._attempts.setdefault(network, set())
        attempts.add(ended)
        try:
            yield
        finally:
            attempts.discard(ended)
            if not attempts:
                self._attempts.pop(network, None)
            ended.set_result(None)

    def _refund(self, network: str, *, known: bool) -> None:
        if not known:
            self._failures.refund(network, time.monotonic())

    def _fingerprint(self, credentials: Sequence[Credentials]) -> bytes:
        """Return what identifies credentials without holding them."""
        texts = [text for item in credentials for text in (item.token, item.username, item.password)]
        parts = [*(text.encode(errors="surrogatepass") for text in texts), *(c.certificate for c in credentials)]
        hashed = hashlib.blake2b(key=self._salt, digest_size=16)
        for part in parts:  # with its length, so that ("ab", "c") and ("a", "bc") differ
            hashed.update(len(part).to_bytes(4) + part)
        return hashed.digest()


def network_of(address: str) -> str:
    """Return what one caller controls of HOST:PORT: its IPv4 address, or the /64 network of its IPv6 address.

    Of a caller on the Unix socket it is all of unix:UID.
    """
    if address.startswith("unix:"):
        return address
    host = ipaddress.ip_address(address.rpartition(":")[0].strip("[]").partition("%")[0])
    if not isinstance(host, ipaddress.IPv6Address):
        return str(host)
    return str(host.ipv4_mapped or ipaddress.ip_network((int(host), 64), strict=False))
