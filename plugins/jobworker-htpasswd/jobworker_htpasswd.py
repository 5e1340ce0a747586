"""Auth provider `htpasswd`: names and passwords from a file that Apache's `htpasswd -B` writes."""

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
MAX_PASSWORD_BYTES = 72  # bcrypt ignores the rest
MAX_COST = 15  # of a check for an unknown name: some seconds
MAX_VERIFIED = 1000  # passwords kept as verified, so that the next login need not wait for bcrypt


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.htpasswd]`: `roles` by user name, `default_roles` for all other names in the file."""

    file: str
    roles: dict[str, list[str]] = {}
    default_roles: list[str] = []


class Passwords:
    """The password hashes of the file, which is read again when it has changed."""

    def __init__(self, path: Path, log: logging.Logger) -> None:
        """Raise OSError or ValueError if the file cannot be used."""
        self._path = path
        self._log = log
        self._seen: tuple[int, int, int] | None = None  # `_mark` of the file as it was read; None: read it again
        self._hashes, wrong = self._read()
        if wrong:
            raise ValueError(f"{path}: {wrong[0]}")

    def of(self, name: str) -> bytes | None:
        """Return the hash of a user's password, None if unknown; raise Unauthenticated if the file is unusable."""
        try:
            now = _mark(self._path)
            if now != self._seen:
                self._hashes, wrong = self._read()
                for line in wrong:
                    self._log.error("%s: %s", self._path, line)
        except (OSError, ValueError) as error:
            self._seen = None  # the next login tries again
            self._log.error("all logins are refused: %s", error)
            raise Unauthenticated("the passwords cannot be read") from error
        return self._hashes.get(name)

    def cost(self) -> int:
        """Return the highest bcrypt cost in the file, 10 if the file is empty."""
        costs = [int(hashed[4:6]) for hashed in self._hashes.values() if hashed[4:6].isdigit()]
        return min(max(costs, default=10), MAX_COST)

    def _read(self) -> tuple[dict[str, bytes], list[str]]:
        """Return the hashes by name, and a message for each wrong line; raise OSError or ValueError."""
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
    """Return numbers that change when the file does."""
    info = path.stat()
    return info.st_mtime_ns, info.st_ino, info.st_size


class Htpasswd:
    name = "htpasswd"

    def __init__(self, settings: Settings, passwords: Passwords) -> None:
        self._settings = settings
        self._passwords = passwords
        self._decoys: dict[int, bytes] = {}  # by cost: hashes of random bytes, to check for an unknown name
        self._salt = secrets.token_bytes(16)  # of the digests in `_verified`
        self._verified: dict[bytes, bytes] = {}  # by hash: a digest of the password that matched it
        self._turn = asyncio.Semaphore(1)  # one check at a time: guessing must not take all processors from the jobs

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        if credentials.scheme != "basic":
            return None
        hashed = self._passwords.of(credentials.username)
        password = credentials.password.encode(errors="surrogatepass")
        if not await self._matches(password, hashed or self._decoy()) or hashed is None:
            raise Unauthenticated("name or password is wrong")  # not which: that would reveal names
        roles = self._settings.roles.get(credentials.username, self._settings.default_roles)
        if not roles:
            raise Unauthenticated(f"no rule gives {credentials.username!r} a role")
        return Principal(credentials.username, self.name, list(roles))

    def _decoy(self) -> bytes:
        """Return a hash that costs as much as those in the file, so that the time does not reveal unknown names."""
        cost = self._passwords.cost()
        if cost not in self._decoys:
            self._decoys[cost] = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(cost))
        return self._decoys[cost]

    async def _matches(self, password: bytes, hashed: bytes) -> bool:
        """Whether the password belongs to the hash; one that matched before is not checked with bcrypt again."""
        digest = hashlib.blake2b(password, key=self._salt, digest_size=32).digest()
        if self._verified.get(hashed) == digest:
            return True
        if not await asyncio.shield(asyncio.create_task(self._in_turn(password, hashed))):
            return False
        self._verified[hashed] = digest
        if len(self._verified) > MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        return True

    async def _in_turn(self, password: bytes, hashed: bytes) -> bool:
        """Check a password when it is its turn; the turn lasts as long as the thread, even if the caller is gone."""
        async with self._turn:
            return await asyncio.to_thread(_check, password, hashed)


def _check(password: bytes, hashed: bytes) -> bool:
    """Whether the password matches; one that is too long takes as much time as any other."""
    try:
        return bcrypt.checkpw(password[:MAX_PASSWORD_BYTES], hashed) and len(password) <= MAX_PASSWORD_BYTES
    except ValueError:  # the password has a NUL, or the hash is malformed
        return False


@hookimpl
def register_auth_providers(context: PluginContext[Settings]) -> Iterable[AuthProvider]:
    return [Htpasswd(context.settings, Passwords(Path(context.settings.file), context.log))]
