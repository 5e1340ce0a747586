"""Auth provider `htpasswd`: names and passwords from a file as Apache's `htpasswd -B` writes it."""

import asyncio
import hashlib
import logging
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

import bcrypt
import msgspec

from jobworker.interfaces import AuthProvider, Credentials, PluginContext, Principal, Unauthenticated, hookimpl

BCRYPT = ("$2y$", "$2b$", "$2a$")
LONGEST = 72  # bytes of a password that bcrypt looks at
HIGHEST = 15  # the cost that one check may have: some seconds
KNOWN = 1000  # pairs that were good a moment ago: who calls again need not wait for bcrypt again


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.htpasswd]`: `roles` by name, `default_roles` for all others in the file."""

    file: str
    roles: dict[str, list[str]] = {}
    default_roles: list[str] = []


class Passwords:
    """The file, read again when it has changed."""

    def __init__(self, path: Path, log: logging.Logger) -> None:
        """Raise ValueError for a file that cannot be used as it is."""
        self._path = path
        self._log = log
        self._seen: tuple[int, int, int] | None = None
        self._hashes, wrong = self._read()
        if wrong:
            raise ValueError(f"{path}: {wrong[0]}")

    def of(self, name: str) -> bytes | None:
        """Return the hash of somebody's password; raise Unauthenticated where the file cannot be read."""
        try:
            now = _mark(self._path)
            if now != self._seen:
                self._hashes, wrong = self._read()
                for line in wrong:
                    self._log.error("%s: %s", self._path, line)
        except (OSError, ValueError) as error:
            self._seen = None  # the next one reads it again
            self._log.error("nobody is let in: %s", error)
            raise Unauthenticated("the passwords cannot be read") from error
        return self._hashes.get(name)

    def cost(self) -> int:
        """Return the highest cost of a hash in the file, 10 where there is none."""
        costs = [int(hashed[4:6]) for hashed in self._hashes.values() if hashed[4:6].isdigit()]
        return min(max(costs, default=10), HIGHEST)

    def _read(self) -> tuple[dict[str, bytes], list[str]]:
        """Return the hashes by name, and what is wrong with other lines; raise OSError, ValueError."""
        mark = _mark(self._path)
        if self._path.stat().st_mode & stat.S_IRWXO:
            raise ValueError(f"{self._path}: others can read it; expected chmod o= {self._path}")
        hashes: dict[str, bytes] = {}
        wrong = []
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), 1):
            name, colon, hashed = line.strip().partition(":")
            if not name or name.startswith("#"):
                continue
            if not colon or not hashed.startswith(BCRYPT):
                wrong.append(f"line {number}: no bcrypt hash; expected a line of `htpasswd -B`")
            else:
                hashes[name] = hashed.encode()
        self._seen = mark
        return hashes, wrong


def _mark(path: Path) -> tuple[int, int, int]:
    info = path.stat()
    return info.st_mtime_ns, info.st_ino, info.st_size


class Htpasswd:
    name = "htpasswd"

    def __init__(self, settings: Settings, passwords: Passwords) -> None:
        self._settings = settings
        self._passwords = passwords
        self._nobodies: dict[int, bytes] = {}  # hashes of nothing, by their cost
        self._salt = secrets.token_bytes(16)
        self._good: dict[bytes, bytes] = {}  # what was good, as a mark, by the hash that it was good for
        self._turn = asyncio.Semaphore(1)  # whoever guesses leaves the other processors to the jobs

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        if credentials.scheme != "basic":
            return None
        hashed = self._passwords.of(credentials.username)
        password = credentials.password.encode(errors="surrogatepass")
        if not await self._is(password, hashed or self._nobody()) or hashed is None:
            raise Unauthenticated("name or password is wrong")  # which of them is nobody's business
        roles = self._settings.roles.get(credentials.username, self._settings.default_roles)
        if not roles:
            raise Unauthenticated(f"no rule gives {credentials.username!r} a role")
        return Principal(credentials.username, self.name, list(roles))

    def _nobody(self) -> bytes:
        """Return a hash that costs as much as those in the file: how long it takes tells nobody who is in there."""
        cost = self._passwords.cost()
        if cost not in self._nobodies:
            self._nobodies[cost] = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(cost))
        return self._nobodies[cost]

    async def _is(self, password: bytes, hashed: bytes) -> bool:
        mark = hashlib.blake2b(password, key=self._salt, digest_size=32).digest()
        if self._good.get(hashed) == mark:
            return True
        if not await asyncio.shield(asyncio.create_task(self._in_turn(password, hashed))):
            return False
        self._good[hashed] = mark
        if len(self._good) > KNOWN:
            del self._good[next(iter(self._good))]
        return True

    async def _in_turn(self, password: bytes, hashed: bytes) -> bool:
        """Check it when it is its turn; that lasts as long as the thread does, also where nobody waits any more."""
        async with self._turn:
            return await asyncio.to_thread(_check, password, hashed)


def _check(password: bytes, hashed: bytes) -> bool:
    """Return whether it is the password; no less time for one that is too long to be any."""
    try:
        return bcrypt.checkpw(password[:LONGEST], hashed) and len(password) <= LONGEST
    except ValueError:  # a NUL in it, or a hash that is none
        return False


@hookimpl
def register_auth_providers(context: PluginContext[Settings]) -> Iterable[AuthProvider]:
    return [Htpasswd(context.settings, Passwords(Path(context.settings.file), context.log))]
