"""Write down who was let in or not, and who changed what: JSON lines, only ever appended, in bounded files.

A line holds the fields of `Entry` and nothing else: no spec, no environment, no credentials. Room is
reserved ahead, so that what is let through can be written down: where there is none, nothing is started.
"""

import ctypes
import errno
import logging
import os
import time
from collections import deque
from pathlib import Path

import msgspec

from jobworker.errors import DiskFull
from jobworker.model import Principal, rfc3339
from jobworker.rate_limit import MAX_KEYS, RateLimiter

log = logging.getLogger(__name__)

RESERVE_BYTES = 65536  # bytes that are reserved at once
MIN_RESERVED_BYTES = 8192  # bytes that must be there before something is let through
MAX_PENDING_LINES = 1000  # lines that may wait for room
DENIALS_PER_SECOND = 2.0  # a second, of one principal, that are written down
DENIALS_BURST = 200  # of them at once
FALLOC_FL_KEEP_SIZE = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `decision` is `login`, `refused` (a caller), `allowed` or `denied` (a call)."""

    time: str
    decision: str
    principal: str | None
    provider: str | None
    address: str
    method: str
    job: str | None = None
    outcome: str | None = None  # of a call that was allowed: `ok`, or the code of its error
    reason: str | None = None
    unwritten: int = 0  # denials of the same principal before this line, of which there were too many


class Audit:
    """`audit.log`, and the one before it as `audit.log.1`; each of half the bytes that both may have."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._limit = max(max_bytes // 2, MIN_RESERVED_BYTES)
        self._fd = -1
        self._size = self._reserved = 0
        self._owed: deque[bytes] = deque(maxlen=MAX_PENDING_LINES)
        self._failing = False
        self._denials = RateLimiter(DENIALS_PER_SECOND, DENIALS_BURST)
        self._unwritten: dict[str, int] = {}

    def require_room(self) -> None:
        """Raise DiskFull where what is about to be done could not be written down."""
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
        """Add a line; one that the disk does not take now is written with a later one."""
        who, provider = (principal.id, principal.provider) if principal else (None, None)
        unwritten = 0
        if who is not None:
            if decision == "denied" and not self._denials.allows(who, time.monotonic()):
                self._leave_out(who)
                return
            unwritten = self._unwritten.pop(who, 0)
        short = None if reason is None else reason[:500]
        entry = Entry(
            rfc3339(time.time_ns()), decision, who, provider, address, method[:80], job, outcome, short, unwritten
        )
        self._owed.append(msgspec.json.encode(entry) + b"\n")
        try:
            self._open()
            while self._owed:
                self._write(self._owed[0])
                self._owed.popleft()
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.error("%s cannot be written, lines wait for room: %s", self._path, error.strerror)
            self._failing = True

    def _leave_out(self, who: str) -> None:
        """Count a denial that is one too many: whoever asks for them must not wash out all other lines."""
        self._unwritten[who] = self._unwritten.get(who, 0) + 1
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
        length = ctypes.c_int64(RESERVE_BYTES)
        if LIBC.fallocate(self._fd, FALLOC_FL_KEEP_SIZE, ctypes.c_int64(self._size), length):
            code = ctypes.get_errno()
            if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise OSError(code, os.strerror(code))
        self._reserved = self._size + RESERVE_BYTES

    def _write(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        if written != len(line):
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
