"""Make the run folder again if it was removed: by logind at the end of a session, or by a cleaner of /tmp."""

import errno
import os
import stat

from jobworker.keeper.state import State


def ensure(state: State) -> None:
    """Have folders for sockets and FIFOs that are ours; raise OSError if there can be none.

    They are made at their old place, or else in the state folder: logind removes what is above /run/user/UID/…,
    and in /dev/shm another user may have taken the name.
    """
    if _is_ours(state.run_folder) and os.path.isdir(state.fifo):
        state.hold_fifo()
        return
    name = os.path.basename(state.run_folder)
    if not name.startswith("jobworker-"):
        name = f"jobworker-{os.geteuid()}-{name}"  # as the agent names it outside /run/jobworker
    for place in (state.run_folder, f"{state.folder}/{name}"):
        try:
            os.makedirs(place, 0o700, exist_ok=True)
            if not _is_ours(place):
                raise PermissionError(errno.EPERM, "belongs to another user, or others can reach it", place)
            os.makedirs(f"{place}/fifo", 0o700, exist_ok=True)
        except OSError as error:
            failed = error
            continue
        state.use_run_folder(place)
        state.hold_fifo()
        state.unreachable = True  # the socket was in the folder
        return
    raise failed


def _is_ours(folder: str) -> bool:
    try:
        info = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o077
