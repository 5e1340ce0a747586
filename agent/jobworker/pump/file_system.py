"""What the file system of the logs can do: `splice` and holes, how to find out, and how to do without."""

import ctypes
import errno
import os
import time

from jobworker.linux.syscalls import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, LIBC

BLOCK = 65536  # bytes: a multiple of the block of any file system
CHUNK = 65536  # bytes: the size of a default pipe
RETRY_SECONDS = 0.2  # between two attempts to write to a log that cannot be written
UNPROVEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # of a disk that takes nothing now
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errno values that mean no room for this log


def punch(file: int, end: int, start: int = 0) -> None:
    """Turn bytes of a file into a hole, of which whole blocks take no room on the disk; raise OSError."""
    start -= start % BLOCK  # a block of which a part was in the hole before can now be freed
    place, length = ctypes.c_int64(start), ctypes.c_int64(end - start)
    if end > start and LIBC.fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, place, length):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def copy(pipe: int, file: int, *, drops: bool, limit: int = CHUNK) -> tuple[int, int]:
    """Read from a pipe and write to a file, for a file system without splice; a kill in between loses the chunk.

    Return how many bytes were written and how many were dropped. Without `drops`, wait until the disk takes them.
    """
    data = os.read(pipe, limit)
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(file, view) :]
        except OSError as error:
            if drops and error.errno in FULL:
                break
            time.sleep(RETRY_SECONDS)  # the pipe no longer has these bytes, so they must be written before any other
    return len(data) - len(view), len(view)


def can_splice(folder: str) -> bool:
    """Whether splice from a pipe into a file of this folder works; tried with one byte."""
    reader, writer = os.pipe()
    name = f"{folder}/.splice.{os.getpid()}"
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(writer, b"x")
            return os.splice(reader, file, 1) == 1
        finally:
            os.close(file)
            os.unlink(name)
    except OSError as error:
        # A disk that cannot be written proves nothing: assume what most file systems can do. A refusal of the call
        # does, by the file system (EINVAL) or by a seccomp profile (EPERM, ENOSYS).
        return error.errno in UNPROVEN
    finally:
        os.close(reader)
        os.close(writer)


def can_punch(folder: str) -> bool:
    """Whether files of this folder can have holes; tried with one byte."""
    name = f"{folder}/.punch.{os.getpid()}"
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            punch(file, 1)
            return True
        finally:
            os.close(file)
            os.unlink(name)
    except OSError as error:
        return error.errno in UNPROVEN
