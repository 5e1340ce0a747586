"""The Unix socket of the agent: bind it so that no other user can replace it."""

import logging
import os
import socket
import stat
from pathlib import Path

from jobworker.errors import StartError

log = logging.getLogger(__name__)

BACKLOG = 256  # connections that wait to be accepted


def bind_unix(path: Path, *, configured: bool, shared: bool) -> socket.socket | None:
    """Return a socket that listens at a path; `shared`: all users may connect, and their uids decide.

    Raises StartError if a configured path cannot be used, or another user could replace the socket there. Returns
    None, and logs why, if another one cannot be bound: clients on this host then use the port.
    """
    if configured:
        require_safe(path.parent)
    sock = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)  # of an agent that was killed: this one holds the lock of the state folder
        sock.bind(str(path))
        path.chmod(0o666 if shared else 0o600)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if configured:
            raise StartError(f"unix.path: {path}: {error.strerror or error}; expected a path of a socket") from error
        log.warning("%s: cannot listen there: %s; clients on this host use the port", path, error.strerror or error)
        return None
    return sock


def require_safe(folder: Path) -> None:
    """Raise StartError unless only root and the agent's user can change what a folder, and those above it, hold."""
    for place in (folder.resolve(), *folder.resolve().parents):
        try:
            info = place.stat()
        except OSError as error:
            raise StartError(f"unix.path: {place}: {error.strerror}; expected a folder that exists") from error
        others_write = info.st_mode & 0o022 and not (info.st_mode & stat.S_ISVTX and place != folder.resolve())
        if info.st_uid not in (0, os.geteuid()) or others_write:
            raise StartError(
                f"unix.path: other users can change {place} (uid {info.st_uid}, mode {info.st_mode & 0o7777:o}); "
                f"expected a folder of root or uid {os.geteuid()} that they cannot write"
            )
