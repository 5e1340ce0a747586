"""Open the files of a log below the state folder: no link on the way is followed, and nothing outside is reached."""

import errno
import os

from jobworker.linux import features
from jobworker.linux.syscalls import openat2

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LINK = (errno.ELOOP, errno.ENOTDIR)  # a link on the way; the second without openat2
REFUSED = (errno.ENOSYS, errno.EPERM)  # by a kernel before 5.6; by a seccomp profile that is older than the call


def open_beneath(folder: int, path: str, flags: int, mode: int = 0o600) -> int:
    """Open a file below a folder, which is given by its descriptor; raise OSError, ELOOP if there is a link."""
    if features.has("openat2"):
        try:
            return openat2(folder, path, flags | os.O_CLOEXEC, mode if flags & os.O_CREAT else 0)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
    *above, name = path.split("/")
    here = os.dup(folder)
    try:
        for each in above:
            below = os.open(each, FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
    finally:
        os.close(here)


def open_in_log(folder: str, name: str, flags: int) -> int:
    """Open a file of the log in STATE/logs/JOB; raise OSError.

    Of a job that an executor runs, that is a link to FOLDER/JOB/logs/JOB: there no other link is followed.
    """
    try:
        return _open_in(folder, name, flags)
    except OSError as error:
        if error.errno not in LINK or not (place := _elsewhere(folder)):
            raise
    return _open_in(place, name, flags)


def _elsewhere(folder: str) -> str:
    """Return where the log of a job of an executor is; "" for any other link."""
    try:
        place = os.readlink(folder)
    except OSError:
        return ""
    job = os.path.basename(folder)
    return place if place.startswith("/") and place.endswith(f"/{job}/logs/{job}") else ""


def _open_in(folder: str, name: str, flags: int) -> int:
    logs, job = os.path.split(folder)
    state, below = os.path.split(logs)
    base = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_beneath(base, f"{below}/{job}/{name}", flags)
    finally:
        os.close(base)


def read_in_log(folder: str, name: str, size: int) -> bytes:
    """Return the first bytes of a file of the log; none if there is no such file. Raise OSError."""
    try:
        fd = open_in_log(folder, name, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def make_log_folder(folder: str) -> None:
    """Make the folder of a log, and the folder of all logs if it was removed; raise OSError, ELOOP for a link."""
    logs, job = os.path.split(folder)
    state, below = os.path.split(logs)
    base = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            inside = open_beneath(base, below, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            _make(below, base)
            inside = open_beneath(base, below, os.O_PATH | os.O_DIRECTORY)
        try:
            _make(job, inside)
        finally:
            os.close(inside)
    finally:
        os.close(base)


def _make(name: str, folder: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=folder)
    except FileExistsError:
        pass
