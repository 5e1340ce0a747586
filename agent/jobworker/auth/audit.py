"""The audit log: logins, refusals and changes as JSON lines, only appended, in a bounded number of files.

A line holds the fields of `Entry` and nothing else: no spec, no environment, no credentials. Disk space is
reserved ahead, so that the line of a call can be written after it; if there is none, nothing is started.
"""

import contextlib
import errno
import logging
import os
import time
from collections import Counter, deque
from pathlib import Path

import msgspec

from jobworker import audit_log, request_ref
from jobworker.audit_forward import Forward
from jobworker.auth.audit_rations import Rations
from jobworker.auth.throttle import network_of
from jobworker.errors import DiskFull, write_hint
from jobworker.linux import syscalls
from jobworker.model import Principal
from jobworker.units import rfc3339

log = logging.getLogger(__name__)

RESERVE_BYTES = 65536  # disk space reserved at once
MIN_RESERVED_BYTES = 8192  # disk space required before a call that must be audited
MAX_PENDING_LINES = 1000  # lines kept in memory until the disk has room; beyond that the oldest is lost

# Members of a line that journald indexes.
FORWARDED = ("decision", "principal", "provider", "address", "method", "job", "target", "outcome", "ref")


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `decision` is `login`, `refused` (a caller), `allowed` or `denied` (a call), or `begun`.

    A call of an admin has two lines: `begun` is written before it, so that it is recorded if the agent ends in it.
    """

    time: str
    decision: str
    principal: str | None
    provider: str | None
    address: str
    method: str
    job: str | None = None
    target: str | None = None  # the name of the token, or the id of the session, that an admin's call is for
    outcome: str | None = None  # of an allowed call: `ok`, or the code of its error
    reason: str | None = None
    bytes: int | None = None  # of input that was written to a job since the last line about it
    before: str | None = None  # the digest of the line before this one
    ref: str | None = None  # the id of the request, as in the agent's log and in `data.ref` of its error
    unwritten: int = 0  # lines of the same caller before this one that were too many to record


class Audit:
    """Writes `audit.log`, which becomes `audit.log.1` when it has its share of `max_bytes`, and so on."""

    def __init__(self, path: Path, max_bytes: int, files: int, forward: Forward | None = None) -> None:
        self._path = path
        # Number of files, the one that is written included; fewer than configured if each would be tiny.
        self._files = max(2, min(files, max_bytes // MIN_RESERVED_BYTES))
        # Bytes of one file.
        self._limit = max(max_bytes // self._files, MIN_RESERVED_BYTES)
        # -1 until the first line: an agent that cannot open the file starts, and refuses to start jobs.
        self._fd = -1
        # Bytes written, and the offset up to which the file system keeps room.
        self._size = self._reserved = 0
        # Lines that the disk has not taken yet, oldest first.
        self._pending: deque[bytes] = deque(maxlen=MAX_PENDING_LINES)
        # The digest of the last line; "": there is none, None: it was not read yet.
        self._digest: str | None = None
        # Whether the last write failed: the agent's log reports the first failure of a row only.
        self._failing = False
        # Rations of lines whose outcome is not ok, and of logins.
        self._rations = Rations()
        # How many there were of each decision, those without a line included, for the metrics.
        self.decisions: Counter[str] = Counter()
        # Sends each line on; None: to nowhere.
        self.forward = forward

    def require_room(self) -> None:
        """Raise DiskFull if the line of a call that is about to run might not fit on the disk."""
        try:
            self._open()
            if self._reserved - self._size < MIN_RESERVED_BYTES:
                self._reserve()
        except OSError as error:
            reason = f"the audit log cannot be written: {error.strerror}"
            raise DiskFull(reason, hint=write_hint(self._path, error.errno)) from error

    def note(
        self,
        decision: str,
        principal: Principal | None,
        address: str,
        method: str,
        *,
        job: str | None = None,
        target: str | None = None,
        outcome: str | None = None,
        reason: str | None = None,
        size: int | None = None,
    ) -> None:
        """Append a line; if the disk has no room, keep it and write it with a later one."""
        self.decisions[decision] += 1
        principal_id, provider = (principal.id, principal.provider) if principal else (None, None)
        network = network_of(address)
        caller = principal_id or network
        kind = network if decision == "login" else ""  # logins from elsewhere are not left out for those from here
        rationed = decision != "begun" and outcome != "ok"
        if rationed and not self._rations.allows(caller, kind, stranger=principal is None):
            return
        unwritten = self._rations.take_unwritten(caller)
        short = None if reason is None else reason[:500]
        entry = Entry(
            rfc3339(time.time_ns()),
            decision,
            principal_id,
            provider,
            address,
            method[:80],
            job,
            target,
            outcome,
            short,
            size,
            self._chain(),
            request_ref.current() or None,
            unwritten,
        )
        line = msgspec.json.encode(entry)
        self._digest = audit_log.digest(line)
        self._pending.append(line + b"\n")
        if self.forward is not None:
            self.forward.put(line, _fields(entry))
        try:
            self._open()
            while self._pending:
                self._write(self._pending[0])
                self._pending.popleft()
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.error(
                    "%s cannot be written; audit lines stay in memory until it can be: %s",
                    self._path,
                    error.strerror,
                )
            self._failing = True

    def _chain(self) -> str | None:
        """Return the digest of the line before the next one; None for the first line of all."""
        if self._digest is None:
            try:
                line = audit_log.last_line(self._path)
            except OSError:
                line = b""
            self._digest = audit_log.digest(line) if line else ""
        return self._digest or None

    def _open(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._size = self._reserved = os.fstat(self._fd).st_size
        if self._size >= self._limit:
            self._shift()
            self._close_file()
            self._open()

    def _shift(self) -> None:
        """Rename each file to the next number; the oldest one is replaced."""
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._files))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            with contextlib.suppress(FileNotFoundError):
                os.replace(newer, older)

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
        """Close the file and, after a short time for what waits, what is forwarded; blocking."""
        self._close_file()
        if self.forward is not None:
            self.forward.close()

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _fields(entry: Entry) -> dict[str, str]:
    """Return the members that are fields at a receiver which has fields."""
    values = {name: getattr(entry, name) for name in FORWARDED}
    return {name: value for name, value in values.items() if value is not None}
