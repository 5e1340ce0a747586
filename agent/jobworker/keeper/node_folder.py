"""The run folder of a runner: sockets and FIFOs on this node, in memory if possible, and never on a shared disk."""

import errno
import os
import stat
import time
from collections.abc import Callable

PLACES = ("/dev/shm", "$TMPDIR", "/tmp")
SOCKET_BYTES = 107  # of the path of a socket, by the kernel's limit
MIN_AGE_SECONDS = 10.0  # since the last change: a runner that starts makes its folder before it uses it
ATTEMPTS = 8  # at a name that is free


def make_node_folder() -> str:
    """Make a folder that only this user can reach, and return it; raise OSError with the reason of the last place."""
    refused = OSError("no place for sockets and FIFOs")
    for place in _places():
        for _ in range(ATTEMPTS):
            folder = f"{place}/jobworker-{os.geteuid()}-{os.urandom(6).hex()}"  # as of an agent, which removes it too
            if len(os.fsencode(f"{folder}/pump.sock")) > SOCKET_BYTES:
                break
            try:
                os.mkdir(folder, 0o700)
                return folder
            except FileExistsError:
                continue
            except OSError as error:
                refused = error
                break
    raise refused


def remove_left() -> None:
    """Remove the folders of this user's runners that were killed. No process uses them: neither a pump nor a job."""
    prefix = f"jobworker-{os.geteuid()}-"
    for place in _places():
        try:
            folders = [entry.path for entry in os.scandir(place) if entry.name.startswith(prefix)]
        except OSError:
            continue
        for folder in folders:
            if _is_left(folder):
                remove_node_folder(folder)


def _places() -> list[str]:
    """Return the places without those of variables that are not set."""
    places = dict.fromkeys(os.path.expandvars(place) for place in PLACES)
    return [place for place in places if place.startswith("/")]


def _is_left(folder: str) -> bool:
    """Whether a folder of a runner is used by no process any more."""
    try:
        info = os.lstat(folder)
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
            return False
        if time.time() - info.st_mtime < MIN_AGE_SECONDS or not {*os.listdir(folder)} <= {"fifo", "pump.sock"}:
            return False  # that of an agent has its lock in it
        if _is_bound(f"{folder}/pump.sock"):
            return False
        fifo = f"{folder}/fifo"
        return not os.path.exists(fifo) or not any(_is_open(f"{fifo}/{name}") for name in os.listdir(fifo))
    except OSError:
        return False


def _is_bound(path: str) -> bool:
    """Whether a process has a socket of this name. Not tried by connecting: a pump would take us for its keeper."""
    with open("/proc/net/unix") as file:
        return any(line.rstrip("\n").endswith(f" {path}") for line in file)


def _is_open(path: str) -> bool:
    """Whether a process reads from a FIFO; a job has both of its ends. Anything else counts as open."""
    if not stat.S_ISFIFO(os.lstat(path).st_mode):
        return True
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
    except OSError as error:
        return error.errno != errno.ENXIO
    return True


def remove_node_folder(folder: str) -> None:
    """Remove it with all that is ours in it."""
    for above, folders, files in os.walk(folder, topdown=False):
        for remove, names in ((os.unlink, files), (os.rmdir, folders)):
            for name in names:
                _try(remove, f"{above}/{name}")
    _try(os.rmdir, folder)


def _try(remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except OSError:
        pass
