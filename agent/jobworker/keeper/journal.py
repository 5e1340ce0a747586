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
TAIL_BYTES = 65536  # bytes in which the end of the last line is looked for at once


class Journal:
    """The file. What happened while the disk was full is written as soon as the disk has room."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self.fd).st_size
        self.size = _end_of_lines(self.fd, size)  # where the next record goes
        self.reserved = self.size  # the disk has room for the file up to here
        if self.size < size:  # a torn write, or the zeros that a power cut left
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


def _end_of_lines(fd: int, size: int) -> int:
    """Return where the last whole line of a file of that size ends."""
    while size > 0:
        start = max(0, size - TAIL_BYTES)
        found = os.pread(fd, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0
