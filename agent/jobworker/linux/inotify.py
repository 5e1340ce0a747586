"""inotify(7), for which Python has no module: the calls, and the events in what is read."""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

from jobworker.linux.syscalls import LIBC

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_MOVE_SELF = 0x800
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
EVENT = struct.Struct("iIII")
BUFFER = 65536  # bytes that are read at once


def new_inotify() -> int:
    """Return a descriptor that does not block; raise OSError."""
    return _checked(LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1", "instances")


def add_watch(fd: int, path: str, mask: int) -> int:
    """Watch a file or folder; return the number of the watch; raise OSError."""
    number = LIBC.inotify_add_watch(fd, os.fsencode(path), mask)
    return _checked(number, f"inotify_add_watch {path}", "watches")


def remove_watch(fd: int, number: int) -> None:
    """End a watch; it may have ended by itself."""
    LIBC.inotify_rm_watch(fd, number)


def read_events(fd: int) -> Iterator[tuple[int, int, str]]:
    """Yield the number of the watch, -1 if events were dropped, the mask, and the name of the file in a folder."""
    try:
        data = os.read(fd, BUFFER)
    except BlockingIOError:
        return
    at = 0
    while at < len(data):
        number, mask, _, length = EVENT.unpack_from(data, at)
        at += EVENT.size + length
        yield number, mask, os.fsdecode(data[at - length : at].rstrip(b"\0"))


def _checked(result: int, call: str, limit: str) -> int:
    """Return the result of a call; raise OSError that names the call and, if it was reached, the limit."""
    if result < 0:
        number = ctypes.get_errno()
        reached = number in (errno.ENOSPC, errno.EMFILE)  # for both the text of the errno names another thing
        why = f"the limit fs.inotify.max_user_{limit} is reached" if reached else os.strerror(number)
        raise OSError(number, f"{call}: {why}")
    return result
