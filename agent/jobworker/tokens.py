"""Bearer tokens with names and roles, stored as hashes in one file that is replaced atomically."""

import fcntl
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from jobworker.errors import InvalidSpec, JobworkerError, StartError, TokenExpired
from jobworker.private import require_private, write_private
from jobworker.units import rfc3339

PREFIX = "jw1_"  # scanners for leaked secrets recognise a token by it


class TokenRecord(msgspec.Struct, frozen=True):
    """What is stored of a token; `hash` is SHA-256, unsalted because the token itself has 256 random bits."""

    name: str
    roles: list[str]
    hash: str
    created_at: str
    expires_at: float | None = None


WRITE_USES_SECONDS = 60.0  # at most so often the times of last use are written to disk


class TokenFile:
    """The tokens of one agent. Changes are made under a lock, and every reader gets them at once.

    A second file has the time of last use of each token, up to a minute late.
    """

    prefix = PREFIX

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uses = path.with_name("tokens.used.json")
        self._used: dict[str, float] | None = None  # by name: the last use; None: not read from its file yet
        self._written = 0.0  # when `_used` was last written
        self._seen: tuple[int, int] | None = None  # time and inode of the file as it was read
        self._records: list[TokenRecord] = []  # as they were read

    def records(self) -> list[TokenRecord]:
        """Return all tokens, read again if the file has changed; raise StartError."""
        try:
            info = self._path.stat()
        except FileNotFoundError:
            return []
        if self._seen != (info.st_mtime_ns, info.st_ino):
            require_private(self._path)
            try:
                self._records = msgspec.json.decode(self._path.read_bytes(), type=list[TokenRecord])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise StartError(f"{self._path}: not a list of tokens: {error}") from error
            self._seen = (info.st_mtime_ns, info.st_ino)
        return self._records

    def find(self, token: str) -> TokenRecord | None:
        """Return the record of a token, None if it is unknown; compared in constant time. Raise TokenExpired."""
        digest = _hash(token)
        match = None
        for record in self.records():
            if hmac.compare_digest(record.hash, digest):
                match = record
        if match and match.expires_at is not None and match.expires_at <= time.time():
            raise TokenExpired(f"the token {match.name!r} expired at {rfc3339(int(match.expires_at * 1e9))}")
        return match

    def recognizes(self, token: str) -> bool:
        """Whether a token is valid now; this costs a hash and no more."""
        try:
            return token.startswith(PREFIX) and self.find(token) is not None
        except (JobworkerError, OSError):  # it has expired, or the file cannot be used
            return False

    def last_used(self) -> dict[str, float]:
        """Return by name when tokens were last used, in seconds since 1970."""
        try:
            return msgspec.json.decode(self._uses.read_bytes(), type=dict[str, float])
        except (OSError, msgspec.MsgspecError):  # no token was used yet, or the file is lost
            return {}

    def note_use(self, name: str) -> None:
        """Store that a token was used now."""
        now = time.time()
        if self._used is None:
            self._used = self.last_used()
        self._used[name] = now
        if now - self._written < WRITE_USES_SECONDS:
            return
        self._written = now
        names = {record.name for record in self.records()}
        kept = {used: at for used, at in self._used.items() if used in names}
        with suppress(OSError):  # a full disk must not prevent a login
            write_private(self._uses, msgspec.json.encode(kept))

    def create(self, name: str, roles: list[str], known: Collection[str], expires_in: float | None = None) -> str:
        """Create a token and return it; only its hash is stored. `known` are all roles. Raise InvalidSpec."""
        if not name or len(name) > 64 or not name.isprintable():
            raise InvalidSpec(f"name: {name!r}; expected 1 to 64 printable characters", field="name")
        unknown = [role for role in roles if role not in known]
        if unknown or not roles:
            raise InvalidSpec(f"roles: {roles!r}; expected some of {', '.join(known)}", field="roles")
        token = PREFIX + secrets.token_urlsafe(32)
        now = time.time_ns()
        expires_at = None if expires_in is None else now / 1e9 + expires_in
        with self._changing() as records:
            if any(record.name == name for record in records):
                raise InvalidSpec(f"name: a token {name!r} exists; expected a new name", field="name")
            records.append(TokenRecord(name, roles, _hash(token), rfc3339(now), expires_at))
        return token

    def revoke(self, name: str) -> bool:
        """Delete the token with a name; return whether there was one."""
        with self._changing() as records:
            kept = [record for record in records if record.name != name]
            gone = len(kept) < len(records)
            records[:] = kept
        return gone

    @contextmanager
    def _changing(self) -> Iterator[list[TokenRecord]]:
        """Lock the file, yield its records to be changed, and write them."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(self._path.with_suffix(".lock"), flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            records = list(self.records())
            yield records
            write_private(self._path, msgspec.json.encode(records))
        finally:
            os.close(lock)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
