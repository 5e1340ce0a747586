"""Find out why the log of a running job takes no output: a full disk, or a limit of file sizes."""

import os
from pathlib import Path

from jobworker.logs.read_mark import is_full_of_unread

LOG_FILES = ("out", "err", "index")


def unread(folder: Path, bound: int) -> str:
    """Return that the job waits for its readers, with a log that holds `bound` bytes; "" if it does not."""
    if not is_full_of_unread(str(folder), bound):
        return ""
    return f"the log holds {bound} bytes, not read yet: the job waits for its readers (jw logs -f {folder.name})"


def why_blocked(folder: Path, pump: int, *, drops: bool) -> str:
    """Return why the log of a running job takes no output now; "" if nothing keeps it from that.

    `folder`: of the log; `pump`: the pid of the pump, 0 if there is none; `drops`: the job does not wait for room.
    """
    limit = file_size_limit(pump)
    sizes = [(folder / name).stat().st_size for name in LOG_FILES if (folder / name).exists()]
    if limit is not None and any(size >= limit for size in sizes):
        then = "further output is dropped" if drops else "the job waits"
        return (
            f"the log has reached {limit} bytes, the limit of file sizes (ulimit -f) of the agent: {then}; "
            "start the agent and its keeper with a higher limit (LimitFSIZE= of systemd)"
        )
    disk = os.statvfs(folder if folder.exists() else folder.parent)
    if disk.f_flag & os.ST_RDONLY:
        return f"the file system of {folder.parent} is mounted read-only: output waits until it can be written"
    if not (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail):
        then = "further output is dropped" if drops else "output waits until there is room"
        return f"the file system of {folder.parent} is full: {then}"
    return ""


def file_size_limit(pid: int) -> int | None:
    """Return the soft limit of file sizes of a process in bytes; None if it has none, or is gone."""
    try:
        with open(f"/proc/{pid}/limits") as file:
            words = next(line for line in file if line.startswith("Max file size")).split()
    except (OSError, StopIteration):
        return None
    return int(words[3]) if words[3].isdigit() else None
