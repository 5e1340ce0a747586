"""Remove run folders: of this agent at its end, and those that killed agents have left, of whatever state folder.

A folder is removed only if no process uses it: no lock of an agent, no socket that listens, no FIFO that a job has
open. A job without agent, keeper and pump waits for them with its FIFOs open.
"""

import errno
import os
import stat
import time
from pathlib import Path

from jobworker import state_lock
from jobworker.formats.secrets import FILES
from jobworker.formats.secrets import FOLDER as SECRETS
from jobworker.run_folder import is_only_ours_to_change, is_ours, run_folders

SOCKETS = ("agent.sock", "keeper.sock", "pump.sock")
MIN_AGE_SECONDS = 10.0  # since the last change: an agent that starts makes its folder before it locks it


def remove_ended(state: Path, ours: Path) -> list[Path]:
    """Remove the run folders that no process uses, except `ours`; return them."""
    listening = _unix_sockets()
    removed = []
    for above in {place.parent for place in run_folders(state) if place.parent != state}:
        try:
            names = sorted(os.listdir(above))
        except OSError:
            continue
        for folder in (above / name for name in names if above.name == "jobworker" or name.startswith(_prefix())):
            if folder != ours and _is_left(folder, listening):
                remove(folder)
                if not folder.exists():
                    removed.append(folder)
    return removed


def _prefix() -> str:
    return f"jobworker-{os.geteuid()}-"


def _is_left(folder: Path, listening: set[str]) -> bool:
    """Whether a folder is a run folder of ours that no process uses."""
    try:
        if not is_ours(folder) or time.time() - folder.stat().st_mtime < MIN_AGE_SECONDS:
            return False
        if any(str(folder / name) in listening for name in SOCKETS) or _is_locked(folder / "agent.lock"):
            return False
        fifo = folder / "fifo"
        return not fifo.exists() or not any(_is_open(path) for path in fifo.iterdir())
    except OSError:
        return False


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return state_lock.holder(fd) is not None
    finally:
        os.close(fd)


def _is_open(path: Path) -> bool:
    """Whether a process has a FIFO open; a job has both of its ends. Anything else counts as open."""
    if not stat.S_ISFIFO(path.lstat().st_mode):
        return True
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
    except OSError as error:
        return error.errno != errno.ENXIO  # no process would read it
    return True


def _unix_sockets() -> set[str]:
    """Return the paths of all Unix sockets that are bound."""
    with open("/proc/net/unix") as file:
        rows = (line.rstrip("\n").split(maxsplit=7) for line in file)
        return {row[7] for row in rows if len(row) > 7}


def remove(folder: Path) -> None:
    """Remove what is of ours in a run folder, and the folder if nothing else is in it."""
    files = [place for place in _file_folders(folder) if is_only_ours_to_change(place)]
    try:
        for path in (
            *folder.glob("fifo/*"),
            *folder.glob(f"{SECRETS}/*"),
            *(path for place in files for path in place.glob("*/*")),
            *(folder / name for name in (*SOCKETS, "agent.lock")),
        ):
            path.unlink(missing_ok=True)
        jobs = [job for place in files for job in place.glob("*")]
        for place in (folder / "fifo", folder / SECRETS, *jobs, *files, folder):
            if place.exists():
                place.rmdir()
    except OSError:
        pass  # a file of another kind, or a process that has just begun to use it


def _file_folders(folder: Path) -> list[Path]:
    """Return the folders that may have secrets which jobs read from files: in a run folder, of root beside it."""
    return [folder / FILES, folder.with_name(f"{folder.name}.{FILES}")]
