"""Warn of input that no job reads: the stdin of a job is empty, whatever the stdin of `jw` has."""

import fcntl
import os
import stat
import struct
import termios

from jobworker_cli import output


class UnreadInput:
    """Looks at the stdin of `jw`, without reading it; warns once."""

    def __init__(self) -> None:
        self._warned = False

    def check(self) -> None:
        """Note that there is input, if there is."""
        if not self._warned and _waiting():
            self._warned = True
            output.note("the input of jw is not sent to the job, whose stdin is empty; </dev/null ends this warning")


def _waiting() -> bool:
    """Return whether stdin is a pipe, a socket or a file, with bytes that were not read."""
    try:
        info = os.fstat(0)
        if stat.S_ISREG(info.st_mode):
            return os.lseek(0, 0, os.SEEK_CUR) < info.st_size
        if stat.S_ISFIFO(info.st_mode) or stat.S_ISSOCK(info.st_mode):
            (count,) = struct.unpack("i", fcntl.ioctl(0, termios.FIONREAD, bytes(4)))
            return bool(count)
    except OSError:  # stdin is closed
        pass
    return False
