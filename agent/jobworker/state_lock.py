"""The lock of a state folder: which process of which host holds it, and whether the folder is a copy of another.

The file `agent.lock` is locked with F_SETLK, so that F_GETLK returns the pid of the agent. Its content names
the host as well: on a shared file system the agent may run on another one, and that pid be another process here.
"""

import fcntl
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from jobworker.errors import StartError
from jobworker.linux.proc import boot_id, user_of

FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
MAX_BYTES = 65536  # of the content


def lock(fd: int) -> bool:
    """Lock a file for the life of this process; return False if another process holds it."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def holder(fd: int) -> int | None:
    """Return the pid of the process that holds the lock of a file, None if it is free.

    0: the process cannot be named here: it is in another pid namespace, or the lock is of another kind than ours.
    """
    request = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, request))
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


def is_ours(pid: int) -> bool:
    """Whether a process belongs to this user; raise OSError if it is gone."""
    return user_of(pid) == os.geteuid()


def read(fd: int) -> dict[str, Any]:
    """Return the content of a lock file; {} if an agent of a version before made it."""
    try:
        content = json.loads(os.pread(fd, MAX_BYTES, 0))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def write(fd: int, content: dict[str, Any]) -> None:
    """Replace the content of a lock file. A kill in between leaves what no agent can read, as if it were empty."""
    data = json.dumps(content).encode()
    os.ftruncate(fd, 0)
    os.pwrite(fd, data, 0)


def this_process() -> dict[str, Any]:
    """Return what names this process on every host that shares the file system."""
    return {"host": socket.gethostname(), "boot": boot_id(), "pid": os.getpid()}


def place(folder: Path) -> dict[str, Any]:
    """Return what tells a folder from a copy of it."""
    return {"path": str(folder.resolve()), "inode": folder.stat().st_ino}


def copied_from(folder: Path, content: dict[str, Any]) -> str:
    """Return the state folder of which this one is a copy; "" if it is none, or if the first one is gone.

    `content` is what the last agent on the folder wrote into its lock. A folder that was moved keeps its inode, and
    one that is mounted elsewhere its path. After a restart of the host no process of the first one is left.
    """
    now = place(folder)
    path, inode = content.get("path"), content.get("inode")
    if not isinstance(path, str) or path == now["path"] or inode == now["inode"] or content.get("boot") != boot_id():
        return ""
    try:
        return path if Path(path).stat().st_ino == inode else ""
    except OSError:
        return ""


def require_this_host(folder: Path, content: dict[str, Any]) -> None:
    """Raise StartError if the agent that holds the lock is on another host."""
    boot = content.get("boot", "")
    if boot and boot != boot_id():
        raise StartError(
            f"{folder}: the agent of another host runs on this state folder: pid {content.get('pid')} of "
            f"{content.get('host')!r}; expected one on this host, {socket.gethostname()!r}",
            hint=f"run jw on {content.get('host')}, or set JOBWORKER_HOME to a folder of this host",
        )
