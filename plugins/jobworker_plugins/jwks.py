"""The keys of an issuer of JWTs (a JWKS): from a file, or fetched, kept, and fetched again when it is time."""

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

LIMIT = 256 << 10  # bytes of a JWKS
PATIENCE = 5.0  # seconds for each step of a fetch
GIVE_UP = 15.0  # seconds for all of it
WAIT = 4.0  # seconds that one token waits for keys: less than what a provider may take
COOLDOWN = 30.0  # seconds between two fetches for keys that are not known, and after one that failed
PUBLIC = ("kty", "crv", "n", "e", "x", "y")


class Unavailable(Exception):
    """There are no keys that may be used, and why."""


class Keys(Protocol):
    """Where the keys of one issuer come from."""

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key of that name for that algorithm, without a name the only one; raise Unavailable."""


class KeySet:
    """A JWKS as far as it is of use: each key with the algorithms for which it may serve."""

    def __init__(self, data: bytes, algorithms: Sequence[str]) -> None:
        """Raise ValueError for what is no JWKS, or holds no key for any of the algorithms."""
        try:
            document = json.loads(data)
            if too_deep(document):
                raise ValueError("nested too deep")
            keys = document["keys"]
            pairs = [(key, algorithm) for key in keys for algorithm in algorithms]
            self._keys = [(key.get("kid"), made) for key, algorithm in pairs if (made := _key(key, algorithm))]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError("it is no JWKS: expected an object with a list of keys") from error
        if not self._keys:
            raise ValueError(f"it holds no key for {' or '.join(algorithms)}")

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        found = [key for name, key in self._keys if key.algorithm_name == algorithm and kid in (None, name)]
        return found[0] if len(found) == 1 or (found and kid is not None) else None


def _key(jwk: Any, algorithm: str) -> jwt.PyJWK | None:
    """Return the public key in a JWK, None where it is not one for signatures of this algorithm."""
    try:
        uses = jwk.get("use", "sig") == "sig" and "verify" in jwk.get("key_ops", ["verify"])
        if not uses or jwk.get("alg", algorithm) != algorithm:
            return None
        key = jwt.PyJWK({name: jwk[name] for name in PUBLIC if name in jwk}, algorithm)
        key.Algorithm.prepare_key(key.key)  # which refuses a curve that is another algorithm's
        return None if key.Algorithm.check_key_length(key.key) else key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None


class FileKeys:
    """A JWKS in a file, read again when that has changed; without it nobody is let in."""

    def __init__(self, path: Path, algorithms: Sequence[str], log: logging.Logger) -> None:
        """Raise ValueError for a file that cannot be used."""
        self._path = path
        self._log = log
        self._algorithms = algorithms
        self._seen: tuple[int, ...] = ()
        try:
            self._read()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        try:
            self._read()
        except (OSError, ValueError) as error:
            self._log.warning("the keys cannot be read: %s", error)
            raise Unavailable(str(error)) from error
        return self._keys.find(kid, algorithm)

    def _read(self) -> None:
        info = self._path.stat()
        seen = (info.st_mtime_ns, info.st_ino, info.st_size)
        if seen == self._seen:
            return
        with self._path.open("rb") as file:
            data = file.read(LIMIT + 1)
        try:
            self._keys = KeySet(_bounded(data), self._algorithms)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error
        self._seen = seen


class FetchedKeys:
    """A JWKS at a URL. It is fetched by at most one thread, and nobody waits long for it.

    It is fetched again after `max_age`, and once in a cool-down for a key that is not known: an issuer publishes new
    keys when it likes. What was fetched serves for `stale` seconds longer while there is nothing newer.
    """

    def __init__(
        self, url: str, algorithms: Sequence[str], max_age: float, stale: float, log: logging.Logger
    ) -> None:
        self._url = url
        self._algorithms = algorithms
        self._max_age = max_age
        self._stale = stale
        self._log = log
        self._keys: KeySet | None = None
        self._fetched = self._failed = self._asked = -math.inf  # moments, of `now`
        self._reason = "nothing has come yet"
        self._fetching: asyncio.Future[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        try:
            async with asyncio.timeout(WAIT):
                return await self._find(kid, algorithm)
        except TimeoutError:
            return self._usable().find(kid, algorithm)

    async def _find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        began = now()
        if began - self._fetched >= self._max_age:
            await self._fetch_again()
        found = self._usable().find(kid, algorithm)
        if found is None and self._fetched < began and (self._fetching or began - self._asked >= COOLDOWN):
            self._asked = began
            await self._fetch_again()
            found = self._usable().find(kid, algorithm)
        return found

    def _usable(self) -> KeySet:
        if self._keys is None or now() - self._fetched > self._max_age + self._stale:
            raise Unavailable(self._reason)
        return self._keys

    async def _fetch_again(self) -> None:
        if self._fetching is None:
            if now() - self._failed < COOLDOWN:
                return
            self._fetching = asyncio.ensure_future(self._fetch())
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        began = now()
        try:
            async with asyncio.timeout(GIVE_UP):
                self._keys = KeySet(await _in_thread(self._url), self._algorithms)
            self._fetched = began
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._failed = now()
            self._reason = str(error) or type(error).__name__
            self._log.warning("%s: the keys could not be fetched: %s", self._url, self._reason)
        finally:
            self._fetching = None


def now() -> float:
    """Return the moment on a clock that also runs while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _in_thread(url: str) -> bytes:
    """Fetch in a thread for which the end of the process does not wait."""
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
    """Return what is at a URL; raise OSError, ValueError or HTTPException."""
    handlers: list[urllib.request.BaseHandler] = [_SameHost()]
    if url.startswith("http:"):
        handlers.append(urllib.request.ProxyHandler({}))  # it is on this host
    request = urllib.request.Request(url, headers={"User-Agent": "jobworker"})  # noqa: S310  # only http and https
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=PATIENCE) as response:
            status, data = response.status, response.read(LIMIT + 1)
    except HTTPError as error:
        with error:
            status, data = error.code, b""
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError) and (known := explain_refusal(error.reason)):
            raise URLError(f"{error.reason}: {'; '.join(known)}") from error
        raise
    if status != 200:
        raise ValueError(f"it answered {status}; expected 200")
    return _bounded(data)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows the issuer to another path and to nobody else."""

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
            raise URLError(f"it redirects to another host: {newurl[:200]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _bounded(data: bytes) -> bytes:
    if len(data) > LIMIT:
        raise ValueError(f"it is too large; expected at most {LIMIT} bytes")
    return data
