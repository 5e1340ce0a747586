"""Bearer tokens: named, with roles, kept as hashes in one file that is replaced at once."""

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

from jobworker.errors import InvalidSpec, StartError, TokenExpired
from jobworker.paths import require_private, write_private
from jobworker.units import rfc3339

PREFIX = "jw1_"  # so that scanners for leaked secrets can tell ours


class TokenRecord(msgspec.Struct, frozen=True):
    """What is kept of a token; `hash` is SHA-256 (the token is 256 random bits: no salt, no stretching)."""

    name: str
    roles: list[str]
    hash: str
    created_at: str
    expires_at: float | None = None


USED = 60.0  # seconds for which the last use of a token may be known to the agent alone


class TokenFile:
    """The tokens of one agent. Changes are made under a lock and seen by every reader at once.

    When each was last used stands in a file beside it, which may lag behind by a minute.
    """

    prefix = PREFIX

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uses = path.with_name("tokens.used.json")
        self._used: dict[str, float] | None = None
        self._written = 0.0
        self._seen: tuple[int, int] | None = None
        self._records: list[TokenRecord] = []

    def records(self) -> list[TokenRecord]:
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
        """Return the record of a token, compared in constant time; raise TokenExpired."""
        digest = _hash(token)
        found = None
        for record in self.records():
            if hmac.compare_digest(record.hash, digest):
                found = record
        if found and found.expires_at is not None and found.expires_at <= time.time():
            raise TokenExpired(f"the token {found.name!r} expired at {rfc3339(int(found.expires_at * 1e9))}")
        return found

    def last_used(self) -> dict[str, float]:
        """Return by name when tokens were last used, in seconds since 1970."""
        try:
            return msgspec.json.decode(self._uses.read_bytes(), type=dict[str, float])
        except (OSError, msgspec.MsgspecError):  # never, or nobody knows any more
            return {}

    def note_use(self, name: str) -> None:
        """Remember that a token was used now."""
        now = time.time()
        if self._used is None:
            self._used = self.last_used()
        self._used[name] = now
        if now - self._written < USED:
            return
        self._written = now
        names = {record.name for record in self.records()}
        kept = {one: then for one, then in self._used.items() if one in names}
        with suppress(OSError):  # a full disk keeps nobody out
            write_private(self._uses, msgspec.json.encode(kept))

    def create(self, name: str, roles: list[str], known: Collection[str], expires_in: float | None = None) -> str:
        """Return a new token, the only time that it is seen; raise InvalidSpec. `known` are the roles there are."""
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
        """Return whether there was a token of that name."""
        with self._changing() as records:
            kept = [record for record in records if record.name != name]
            gone = len(kept) < len(records)
            records[:] = kept
        return gone

    @contextmanager
    def _changing(self) -> Iterator[list[TokenRecord]]:
        lock = os.open(self._path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            records = list(self.records())
            yield records
            write_private(self._path, msgspec.json.encode(records))
        finally:
            os.close(lock)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
