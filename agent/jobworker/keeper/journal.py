"""Append to the journal of starts and exits: JSON lines, each there whole or not at all."""

import errno
import os
import time
from collections import deque
from typing import Any

from jobworker.keeper.wire import encode
from jobworker.linux import syscalls

ROOM_PER_JOB = 2048  # bytes: more than all records of a job take
RESERVED_AHEAD = 65536  # bytes that are reserved at once


class Journal:
    """The file. What happened while the disk was full is written as soon as the disk has room."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self.fd).st_size
        tail = os.pread(self.fd, 65536, max(0, size - 65536))
        self.size = size - len(tail) + tail.rfind(b"\n") + 1  # where the next record goes
        self.reserved = self.size  # the disk has room for the file up to here
        if self.size < size:  # a torn write
            os.ftruncate(self.fd, self.size)
        self.owed: deque[bytes] = deque()  # records of what happened while the disk was full

    def reserve(self, jobs: int) -> None:
        """Have the disk keep room for all that can happen to so many jobs; raise OSError if it has none."""
        missing = self.size + jobs * ROOM_PER_JOB - self.reserved
        if missing <= 0:
            return
        length = max(missing, RESERVED_AHEAD)
        syscalls.reserve(self.fd, self.reserved, length)
        self.reserved += length

    def append(self, record: dict[str, Any]) -> None:
        """Write one record, or raise OSError and leave the file as it was."""
        self.settle()
        self._write(self._line(record))

    def note(self, record: dict[str, Any]) -> None:
        """Write a record of what has happened already: if the disk is full, as soon as it can be."""
        self.owed.append(self._line(record))
        try:
            self.settle()
        except OSError:
            pass

    def settle(self) -> None:
        """Write what is owed, or raise OSError."""
        while self.owed:
            self._write(self.owed[0])
            self.owed.popleft()

    def _line(self, record: dict[str, Any]) -> bytes:
        return encode({**record, "at": time.time_ns()}).encode() + b"\n"

    def _write(self, line: bytes) -> None:
        if os.pwrite(self.fd, line, self.size) != len(line):
            os.ftruncate(self.fd, self.size)
            self.reserved = self.size
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += len(line)
