"""Move the output of a job that has secrets, and mask them on the way to its log.

This is the one place where a pump looks at the bytes. It looks at a copy that tee(2) makes of the pipe, and takes out
of the pipe only what is in the log: a kill loses nothing, and one between these two steps writes a piece twice.
What may be the beginning of a secret stays in the pipe until more comes, for a second at most.
"""

import ctypes
import os
import time

from jobworker.formats.masking import Masker, forms
from jobworker.formats.secrets import read_secrets
from jobworker.linux.syscalls import LIBC
from jobworker.linux.terminal import unread
from jobworker.pump.file_system import CHUNK
from jobworker.pump.waiting import Held

HOLD_SECONDS = 1.0  # that the beginning of a secret waits for the rest of it


class MaskedPipes:
    """The output of one job on its way through a masker."""

    def __init__(self, path: str) -> None:
        """Read the secrets from this file; raise OSError or ValueError."""
        self._masker = Masker(forms(read_secrets(path).values()))
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # empty between two calls
        # By pipe: how many bytes were held back when it was looked at last, and since when.
        self._held: dict[int, tuple[int, float]] = {}

    def move(self, pipe: int, file: int, limit: int, *, last: bool) -> tuple[int, int]:
        """Move what there is, at most `limit` bytes; return the bytes taken and the bytes written.

        Taken are 0 bytes at the end. Raises BlockingIOError if the pipe is empty, Held if all of it may be the
        beginning of a secret, and OSError if the file takes nothing: then it is as it was. `last`: every write end
        is closed.
        """
        data = self._peek(pipe, min(limit, CHUNK))
        if not data:
            return 0, 0
        final = (last and unread(pipe) == len(data)) or self._is_overdue(pipe, len(data))
        masked, taken = self._masker.mask(data, final=final)
        if not taken:
            self._held.setdefault(pipe, (len(data), time.monotonic()))
            raise Held
        self._held.pop(pipe, None)
        _write(file, masked)
        left = taken
        while left:
            left -= len(os.read(pipe, left))
        return taken, len(masked)

    def _peek(self, pipe: int, limit: int) -> bytes:
        """Return bytes from the pipe that stay in it."""
        length = LIBC.tee(pipe, self._writer, ctypes.c_size_t(limit), os.SPLICE_F_NONBLOCK)
        if length < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return os.read(self._reader, length) if length else b""

    def _is_overdue(self, pipe: int, length: int) -> bool:
        """Whether these very bytes have waited long enough."""
        before, since = self._held.get(pipe, (length, time.monotonic()))
        if before != length:
            del self._held[pipe]
            return False
        return time.monotonic() - since >= HOLD_SECONDS

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def _write(file: int, data: bytes) -> None:
    """Append to a file all of the data, or nothing; raise OSError."""
    place = os.lseek(file, 0, os.SEEK_CUR)
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError:
        os.ftruncate(file, place)
        os.lseek(file, place, os.SEEK_SET)
        raise
