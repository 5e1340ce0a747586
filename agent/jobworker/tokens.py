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
    # Distinguishes it from the tokens that had its name before; "" for the first, then "2", "3" …
    subject: str = ""

    @property
    def id(self) -> str:
        """The name with the subject: no other token ever has it."""
        return f"{self.name}#{self.subject}" if self.subject else self.name

    @property
    def revoked(self) -> bool:
        """Whether only the id is left, so that no later token gets it, and with it the jobs."""
        return not self.hash


MAX_REVOKED = 10_000  # ids of revoked tokens that are kept; beyond that the oldest is dropped
WRITE_USES_SECONDS = 60.0  # at most so often the times of last use are written to disk


class TokenFile:
    """The tokens of one agent. Changes are made under a lock, and every reader gets them at once.

    A second file has the time of last use of each token, up to a minute late.
    """

    prefix = PREFIX

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uses = path.with_name("tokens.used.json")
        self._used: dict[str, float] | None = None  # by id: the last use; None: not read from its file yet
        self._written = 0.0  # when `_used` was last written
        self._seen: tuple[int, int] | None = None  # time and inode of the file as it was read
        self._all: list[TokenRecord] = []  # as they were read
        self._records: list[TokenRecord] = []  # those of them that are not revoked

    def records(self) -> list[TokenRecord]:
        """Return the tokens that are not revoked, read again if the file has changed; raise StartError."""
        self._read()
        return self._records

    def _read(self) -> list[TokenRecord]:
        """Return all records, those of revoked tokens too; raise StartError."""
        try:
            info = self._path.stat()
        except FileNotFoundError:
            self._seen, self._all, self._records = None, [], []
            return self._all
        if self._seen != (info.st_mtime_ns, info.st_ino):
            require_private(self._path)
            try:
                self._all = msgspec.json.decode(self._path.read_bytes(), type=list[TokenRecord])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise StartError(f"{self._path}: not a list of tokens: {error}") from error
            self._records = [record for record in self._all if not record.revoked]
            self._seen = (info.st_mtime_ns, info.st_ino)
        return self._all

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
        """Return by id when tokens were last used, in seconds since 1970."""
        try:
            return msgspec.json.decode(self._uses.read_bytes(), type=dict[str, float])
        except (OSError, msgspec.MsgspecError):  # no token was used yet, or the file is lost
            return {}

    def note_use(self, id: str) -> None:  # noqa: A002
        """Store that a token was used now."""
        now = time.time()
        if self._used is None:
            self._used = self.last_used()
        self._used[id] = now
        if now - self._written < WRITE_USES_SECONDS:
            return
        self._written = now
        ids = {record.id for record in self.records()}
        kept = {used: at for used, at in self._used.items() if used in ids}
        with suppress(OSError):  # a full disk must not prevent a login
            write_private(self._uses, msgspec.json.encode(kept))

    def create(
        self,
        name: str,
        roles: list[str],
        known: Collection[str],
        expires_in: float | None = None,
        *,
        replace: bool = False,
    ) -> str:
        """Create a token and return it; only its hash is stored. `known` are all roles. Raise InvalidSpec.

        It has none of the jobs of a revoked token with that name, unless `replace`: then it is the same principal,
        and a token of that name ends.
        """
        if not name or len(name) > 64 or not name.isprintable():
            raise InvalidSpec(f"name: {name!r}; expected 1 to 64 printable characters", field="name")
        unknown = [role for role in roles if role not in known]
        if unknown or not roles:
            raise InvalidSpec(f"roles: {roles!r}; expected some of {', '.join(known)}", field="roles")
        token, made = _made(TokenRecord(name, roles, "", ""), expires_in)
        with self._changing() as records:
            if replace:
                records[:] = [record for record in records if record.name != name]
            if any(record.name == name and not record.revoked for record in records):
                hint = "`jw token renew` gives it a new secret and a new end, `jw token revoke` ends it"
                raise InvalidSpec(f"name: a token {name!r} exists; expected a new name", hint=hint, field="name")
            taken, number = {record.id for record in records}, 1
            while made.id in taken:
                number += 1
                made = msgspec.structs.replace(made, subject=str(number))
            records.append(made)
        return token

    def renew(self, name: str, expires_in: float | None) -> str | None:
        """Replace the secret and the end of a token, which stays the same principal; None: there is no such token."""
        with self._changing() as records:
            for place, record in enumerate(records):
                if record.name == name and not record.revoked:
                    token, records[place] = _made(record, expires_in)
                    return token
        return None

    def revoke(self, name: str) -> bool:
        """End the token with a name; return whether there was one. Only its id stays in the file."""
        with self._changing() as records:
            live = [record for record in records if record.name == name and not record.revoked]
            kept = [record for record in records if record not in live]
            gone = [*(record for record in kept if record.revoked), *map(_without_secret, live)][-MAX_REVOKED:]
            records[:] = [*gone, *(record for record in kept if not record.revoked)]
        return bool(live)

    @contextmanager
    def _changing(self) -> Iterator[list[TokenRecord]]:
        """Lock the file, yield its records to be changed, and write them."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(self._path.with_suffix(".lock"), flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            records = list(self._read())
            yield records
            write_private(self._path, msgspec.json.encode(records))
        finally:
            os.close(lock)


def _made(record: TokenRecord, expires_in: float | None) -> tuple[str, TokenRecord]:
    """Return a new token, and the record with its hash and its times."""
    token = PREFIX + secrets.token_urlsafe(32)
    now = time.time_ns()
    expires_at = None if expires_in is None else now / 1e9 + expires_in
    return token, msgspec.structs.replace(record, hash=_hash(token), created_at=rfc3339(now), expires_at=expires_at)


def _without_secret(record: TokenRecord) -> TokenRecord:
    """Return what is kept of a token that is revoked."""
    return msgspec.structs.replace(record, roles=[], hash="")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
