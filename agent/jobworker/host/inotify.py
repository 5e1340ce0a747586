"""Get notifications from the kernel when files in a folder change: inotify, for which Python has no module."""

import asyncio
import ctypes
import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

from jobworker.linux.syscalls import LIBC

IN_MODIFY = 0x2
IN_CREATE = 0x100
IN_MOVE_SELF = 0x800
IN_ONLYDIR = 0x1000000
EVENT = struct.Struct("iIII")
BUFFER = 65536


class Inotify:
    """One inotify instance: calls a callback once for each batch of changes in a watched folder."""

    def __init__(self) -> None:
        self._fd = _check(LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1", "instances")
        self._callbacks: dict[int, Callable[[str], None]] = {}  # by the number of the watch
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def watch(self, folder: Path, callback: Callable[[str], None], mask: int = IN_MODIFY | IN_CREATE) -> int:
        """Return a number for `unwatch`; a folder can be watched once.

        The callback gets the name of the file that changed, or "" if any may have changed; also when the folder is
        removed or renamed.
        """
        added = LIBC.inotify_add_watch(self._fd, os.fsencode(folder), mask | IN_ONLYDIR)
        number = _check(added, f"inotify_add_watch {folder}", "watches")
        self._callbacks[number] = callback
        return number

    def unwatch(self, number: int) -> None:
        """End a watch."""
        if self._callbacks.pop(number, None):
            LIBC.inotify_rm_watch(self._fd, number)  # fails if the folder is gone, and the watch with it

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, BUFFER)
        except BlockingIOError:
            return
        changed: set[tuple[int, str]] = set()
        at = 0
        while at < len(data):
            number, _, _, length = EVENT.unpack_from(data, at)
            at += EVENT.size + length
            if number < 0:  # the queue overflowed: any watched folder may have changed
                changed.update((other, "") for other in self._callbacks)
            changed.add((number, os.fsdecode(data[at - length : at].rstrip(b"\0"))))
        for number, name in changed:
            if callback := self._callbacks.get(number):
                callback(name)


def _check(result: int, call: str, limit: str) -> int:
    """Return the result of a call; raise OSError that names the call and, if it was reached, the limit."""
    if result < 0:
        number = ctypes.get_errno()
        reached = number in (errno.ENOSPC, errno.EMFILE)  # for both the text of the errno names another thing
        why = f"the limit fs.inotify.max_user_{limit} is reached" if reached else os.strerror(number)
        raise OSError(number, f"{call}: {why}")
    return result
