"""The keys of an issuer of JWTs (a JWKS): read from a file, or fetched from a URL and cached."""

import asyncio
import concurrent.futures
import http.client
import json
import logging
import math
import ssl
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import jwt

from jobworker.interfaces import explain_refusal, too_deep

MAX_BYTES = 256 << 10  # of a JWKS
STEP_SECONDS = 5.0  # for each step of a fetch
FETCH_SECONDS = 15.0  # for a whole fetch
WAIT_SECONDS = 4.0  # that one token waits for keys: less than a provider may take
COOLDOWN_SECONDS = 30.0  # between two fetches for unknown keys, and after a fetch that failed
PUBLIC = ("kty", "crv", "n", "e", "x", "y")  # the members of a public key: a private one is not read


class Unavailable(Exception):
    """There are no keys that may be used; the message is the reason."""


class Keys(Protocol):
    """A source of the keys of one issuer."""

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key with this id for this algorithm; without an id, the only one. Raise Unavailable."""


class KeySet:
    """The usable keys of a JWKS, each with the algorithms that it may be used for."""

    def __init__(self, data: bytes, algorithms: Sequence[str]) -> None:
        """Raise ValueError if the data is not a JWKS, or has no key for any of the algorithms."""
        try:
            document = json.loads(data)
            if too_deep(document):
                raise ValueError("nested too deep")
            keys = document["keys"]
            pairs = [(key, algorithm) for key in keys for algorithm in algorithms]
            self._keys = [(key.get("kid"), made) for key, algorithm in pairs if (made := _key(key, algorithm))]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError("not a JWKS; expected an object with a list of keys") from error
        if not self._keys:
            raise ValueError(f"it has no key for {' or '.join(algorithms)}")

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        matching = [key for name, key in self._keys if key.algorithm_name == algorithm and kid in (None, name)]
        return matching[0] if len(matching) == 1 or (matching and kid is not None) else None


def _key(jwk: Any, algorithm: str) -> jwt.PyJWK | None:
    """Return the public key in a JWK; None if it is not for signatures of this algorithm."""
    try:
        uses = jwk.get("use", "sig") == "sig" and "verify" in jwk.get("key_ops", ["verify"])
        if not uses or jwk.get("alg", algorithm) != algorithm:
            return None
        key = jwt.PyJWK({name: jwk[name] for name in PUBLIC if name in jwk}, algorithm)
        key.Algorithm.prepare_key(key.key)  # raises for a curve of another algorithm
        return None if key.Algorithm.check_key_length(key.key) else key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None


class FileKeys:
    """A JWKS in a file, which is read again when it has changed; without the file all tokens are refused."""

    def __init__(self, path: Path, algorithms: Sequence[str], log: logging.Logger) -> None:
        """Raise ValueError if the file cannot be used."""
        self._path = path
        self._log = log
        self._algorithms = algorithms
        self._seen: tuple[int, ...] = ()  # time, inode and size of the file as it was read
        try:
            self._read()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        try:
            self._read()
        except (OSError, ValueError) as error:
            self._log.warning("the keys cannot be read, tokens are refused: %s", error)
            raise Unavailable(str(error)) from error
        return self._keys.find(kid, algorithm)

    def _read(self) -> None:
        info = self._path.stat()
        seen = (info.st_mtime_ns, info.st_ino, info.st_size)
        if seen == self._seen:
            return
        with self._path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        try:
            self._keys = KeySet(_bounded(data), self._algorithms)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error
        self._seen = seen


class FetchedKeys:
    """A JWKS at a URL. At most one thread fetches it, and a token waits for that a few seconds at most.

    It is fetched again after `max_age` seconds, and for an unknown key once in a cool-down, since an issuer publishes
    new keys at any time. If a fetch fails, the old keys are used for `stale` seconds longer.
    """

    def __init__(
        self, url: str, algorithms: Sequence[str], max_age: float, stale: float, log: logging.Logger
    ) -> None:
        self._url = url
        self._algorithms = algorithms
        self._max_age = max_age
        self._stale = stale
        self._log = log
        self._keys: KeySet | None = None  # as they were last fetched
        # When, by `now`: the last good fetch began, the last one failed, the last one for an unknown key was made.
        self._fetched = self._failed = self._asked = -math.inf
        self._reason = "they have not been fetched yet"  # why there are no keys
        self._fetching: asyncio.Future[None] | None = None  # the fetch under way, for all that wait

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await self._find(kid, algorithm)
        except TimeoutError:
            return self._usable().find(kid, algorithm)

    async def _find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return a key; fetch the keys before if they are too old or the key is unknown."""
        began = now()
        if began - self._fetched >= self._max_age:
            await self._fetch_again()
        key = self._usable().find(kid, algorithm)
        if key is None and self._fetched < began and (self._fetching or began - self._asked >= COOLDOWN_SECONDS):
            self._asked = began
            await self._fetch_again()
            key = self._usable().find(kid, algorithm)
        return key

    def _usable(self) -> KeySet:
        """Return the keys, which may be stale; raise Unavailable."""
        if self._keys is None or now() - self._fetched > self._max_age + self._stale:
            raise Unavailable(self._reason)
        return self._keys

    async def _fetch_again(self) -> None:
        if self._fetching is None:
            if now() - self._failed < COOLDOWN_SECONDS:
                return
            self._fetching = asyncio.ensure_future(self._fetch())
        await asyncio.shield(self._fetching)  # a token that waits no longer must not end it for the others

    async def _fetch(self) -> None:
        began = now()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = KeySet(await _in_thread(self._url), self._algorithms)
            self._fetched = began
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._failed = now()
            self._reason = str(error) or type(error).__name__
            self._log.warning("%s: the keys cannot be fetched: %s", self._url, self._reason)
        finally:
            self._fetching = None


def now() -> float:
    """Return the time in seconds, of a clock that also runs while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _in_thread(url: str) -> bytes:
    """Fetch in a daemon thread, so that the end of the process does not wait for it."""
    fetched: concurrent.futures.Future[bytes] = concurrent.futures.Future()
    fetched.set_running_or_notify_cancel()

    def run() -> None:
        try:
            fetched.set_result(fetch(url))
        except Exception as error:
            fetched.set_exception(error)

    threading.Thread(target=run, name=f"fetch {url}", daemon=True).start()
    return await asyncio.wrap_future(fetched)


def fetch(url: str) -> bytes:
    """Return the body at a URL; raise OSError, ValueError or HTTPException."""
    handlers: list[urllib.request.BaseHandler] = [_SameHost()]
    if url.startswith("http:"):
        handlers.append(urllib.request.ProxyHandler({}))  # http is for this host only, which no proxy reaches
    request = urllib.request.Request(url, headers={"User-Agent": "jobworker"})  # noqa: S310  # only http and https
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=STEP_SECONDS) as response:
            status, data = response.status, response.read(MAX_BYTES + 1)
    except HTTPError as error:
        with error:
            status, data = error.code, b""
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError) and (known := explain_refusal(error.reason)):
            raise URLError(f"{error.reason}: {'; '.join(known)}") from error
        raise
    if status != 200:
        raise ValueError(f"HTTP status {status}; expected 200")
    return _bounded(data)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects to another path of the issuer, and to no other host."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            fp.close()
            raise URLError(f"redirected to another host: {newurl[:200]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise ValueError(f"too large; expected at most {MAX_BYTES} bytes")
    return data
