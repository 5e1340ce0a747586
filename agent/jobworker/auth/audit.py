"""The audit log: logins, refusals and changes as JSON lines, only appended, in two bounded files.

A line holds the fields of `Entry` and nothing else: no spec, no environment, no credentials. Disk space is
reserved ahead, so that the line of a call can be written after it; if there is none, nothing is started.
"""

import errno
import logging
import os
import time
from collections import deque
from pathlib import Path

import msgspec

from jobworker.errors import DiskFull
from jobworker.linux import syscalls
from jobworker.model import Principal
from jobworker.rate_limit import MAX_KEYS, RateLimiter
from jobworker.units import rfc3339

log = logging.getLogger(__name__)

RESERVE_BYTES = 65536  # disk space reserved at once
MIN_RESERVED_BYTES = 8192  # disk space required before a call that must be audited
MAX_PENDING_LINES = 1000  # lines kept in memory until the disk has room; beyond that the oldest is lost
DENIALS_PER_SECOND = 2.0  # denials of one principal that are recorded, on average
DENIALS_BURST = 200  # and at once


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `decision` is `login`, `refused` (a caller), `allowed` or `denied` (a call)."""

    time: str
    decision: str
    principal: str | None
    provider: str | None
    address: str
    method: str
    job: str | None = None
    outcome: str | None = None  # of an allowed call: `ok`, or the code of its error
    reason: str | None = None
    unwritten: int = 0  # denials of the same principal before this line that were too many to record


class Audit:
    """Writes `audit.log` and renames it to `audit.log.1` when it has half of `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        # Bytes of one file.
        self._limit = max(max_bytes // 2, MIN_RESERVED_BYTES)
        # -1 until the first line: an agent that cannot open the file starts, and refuses to start jobs.
        self._fd = -1
        # Bytes written, and the offset up to which the file system keeps room.
        self._size = self._reserved = 0
        # Lines that the disk has not taken yet, oldest first.
        self._pending: deque[bytes] = deque(maxlen=MAX_PENDING_LINES)
        # Whether the last write failed: the agent's log reports the first failure of a row only.
        self._failing = False
        # Tokens for denials by principal: a caller who repeats them must not push all other lines out.
        self._denials = RateLimiter(DENIALS_PER_SECOND, DENIALS_BURST)
        # Denials left out since the last line of a principal.
        self._unwritten: dict[str, int] = {}

    def require_room(self) -> None:
        """Raise DiskFull if the line of a call that is about to run might not fit on the disk."""
        try:
            self._open()
            if self._reserved - self._size < MIN_RESERVED_BYTES:
                self._reserve()
        except OSError as error:
            reason = f"the audit log cannot be written: {error.strerror}"
            raise DiskFull(reason, hint=f"make room for {self._path}") from error

    def note(
        self,
        decision: str,
        principal: Principal | None,
        address: str,
        method: str,
        *,
        job: str | None = None,
        outcome: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Append a line; if the disk has no room, keep it and write it with a later one."""
        principal_id, provider = (principal.id, principal.provider) if principal else (None, None)
        unwritten = 0
        if principal_id is not None:
            if decision == "denied" and not self._denials.allows(principal_id, time.monotonic()):
                self._leave_out(principal_id)
                return
            unwritten = self._unwritten.pop(principal_id, 0)
        short = None if reason is None else reason[:500]
        entry = Entry(
            rfc3339(time.time_ns()),
            decision,
            principal_id,
            provider,
            address,
            method[:80],
            job,
            outcome,
            short,
            unwritten,
        )
        self._pending.append(msgspec.json.encode(entry) + b"\n")
        try:
            self._open()
            while self._pending:
                self._write(self._pending[0])
                self._pending.popleft()
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.error(
                    "%s cannot be written; audit lines stay in memory until there is room: %s",
                    self._path,
                    error.strerror,
                )
            self._failing = True

    def _leave_out(self, principal_id: str) -> None:
        """Count a denial in place of recording it."""
        self._unwritten[principal_id] = self._unwritten.get(principal_id, 0) + 1
        if len(self._unwritten) > MAX_KEYS:
            del self._unwritten[next(iter(self._unwritten))]

    def _open(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._size = self._reserved = os.fstat(self._fd).st_size
        if self._size >= self._limit:
            os.replace(self._path, self._path.with_name(f"{self._path.name}.1"))
            self.close()
            self._open()

    def _reserve(self) -> None:
        syscalls.reserve(self._fd, self._size, RESERVE_BYTES)
        self._reserved = self._size + RESERVE_BYTES

    def _write(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        if written != len(line):
            os.ftruncate(self._fd, self._size)  # no half line: the whole one is written later
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
