"""Find the places for the run folder: sockets and FIFOs, short (a socket's path has 108 bytes), on tmpfs if possible.

Places that no other user can take come first. In /dev/shm and /tmp any user can make our name before we do: such a
place is passed over, and the last one is inside the state folder.
"""

import os
import stat
from pathlib import Path

from jobworker.errors import StartError
from jobworker.private import require_trusted


def run_folders(state: Path) -> list[Path]:
    """Return the places for the run folder of a state folder, the best first."""
    import hashlib  # slow to import, and `jw` needs no run folder

    digest = hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:12]
    uid = os.geteuid()
    name = f"jobworker-{uid}-{digest}"
    mounted = _tmpfs_mounts()
    if uid == 0:
        places = [Path("/run/jobworker", digest)] if "/run" in mounted else []
    else:
        places = [Path(base, name) for base in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}") if base]
    places += [Path(base, name) for base in ("/dev/shm", "/run", "/tmp") if base in mounted]
    if uid == 0:
        places.append(Path("/run/jobworker", digest))  # on a disk each launch takes longer
    return [*dict.fromkeys([*places, Path("/tmp", name), state / name])]


def is_ours(folder: Path) -> bool:
    """Whether a folder is there, belongs to us, and no other user can reach or replace it."""
    try:
        info = folder.lstat()
        require_trusted(folder)
    except (OSError, StartError):
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o077


def is_only_ours_to_change(folder: Path) -> bool:
    """Whether a folder is there and belongs to us, and no other user can change it; others may pass it."""
    try:
        info = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o022


def is_usable(folder: Path) -> bool:
    """Whether a folder is ours and not on a read-only file system, or can be made."""
    if os.path.lexists(folder):
        return is_ours(folder) and not os.statvfs(folder).f_flag & os.ST_RDONLY
    above = next(place for place in folder.parents if os.path.exists(place))
    try:
        require_trusted(above)
    except (StartError, OSError):
        return False
    return os.access(above, os.W_OK | os.X_OK, effective_ids=True)


def _tmpfs_mounts() -> set[str]:
    with open("/proc/self/mountinfo") as file:
        return {fields[4] for line in file if (fields := line.split()) and " - tmpfs " in line}
