"""The agent's end of a spool: append to the input of a job, and end it."""

import contextlib
import errno
import os
from collections.abc import Iterator

from jobworker.errors import DiskFull
from jobworker.formats.spool import CLOSED_MODE, SEGMENT, accepted_bytes, room, spool_paths

BOUND = 2 * SEGMENT  # bytes that are accepted and not yet in the job's pipe, at most
DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


class Spool:
    """The two open files of one job's input."""

    def __init__(self, files: list[int]) -> None:
        self._files = files

    def accepted(self) -> tuple[int, bool]:
        """Return how many bytes of input were ever accepted, and whether that is all of it."""
        return accepted_bytes(self._files)

    def has_room(self, end: int) -> bool:
        """Whether more can be appended; `end` is how much was accepted."""
        return room(self._files, end)[1] > 0

    def removed(self) -> bool:
        """Whether the keeper has removed it: the input has ended, and what was appended since does not count."""
        return not os.fstat(self._files[0]).st_nlink

    def append(self, data: memoryview, end: int) -> int:
        """Append what there is room for; return how many bytes. Raise DiskFull if the disk takes nothing."""
        written = 0
        while written < len(data):
            number, length = room(self._files, end + written)
            if not length:
                break
            try:
                written += os.pwrite(self._files[number], data[written : written + length], end + written)
            except OSError as error:
                if error.errno not in DISK_ERRNOS:
                    raise
                if written:
                    break
                text = f"the input cannot be stored: {error.strerror}"
                raise DiskFull(text, hint="make room on the state folder") from None
        return written

    def close_input(self) -> None:
        """End the input after what was accepted."""
        os.fchmod(self._files[0], CLOSED_MODE)


@contextlib.contextmanager
def open_spool(home: str, job: str) -> Iterator[Spool | None]:
    """Open the spool of a job in the state folder; None: its input has ended."""
    paths = spool_paths(home, job)
    files: list[int] = []
    try:
        try:
            files.append(_open(paths[0], os.O_WRONLY))
        except FileNotFoundError:
            yield None
            return
        except PermissionError:  # it is read-only: the input is closed; nothing will be appended
            files.append(_open(paths[0], os.O_RDONLY))
        try:
            files.append(_open(paths[1], os.O_WRONLY))
        except FileNotFoundError:
            yield None
            return
        yield Spool(files)
    finally:
        for fd in files:
            os.close(fd)


def accepted_by_name(home: str, job: str) -> int:
    """Return how many bytes of input were ever accepted; -1 once the input has ended."""
    try:
        return max(os.stat(path).st_size for path in spool_paths(home, job))
    except FileNotFoundError:
        return -1


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
