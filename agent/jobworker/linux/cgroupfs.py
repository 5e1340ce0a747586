"""Read and write the files of cgroup v2, and find the mount of the hierarchy.

Here the name of a group is its folder; /proc has its path in the hierarchy. `Hierarchy` converts between the two.
"""

import os
import signal
import time
from typing import NamedTuple

from jobworker.linux import features
from jobworker.linux.proc import group_of

KILL_ROUNDS = 20  # times that the pids of a group are read while they are killed one by one


class Hierarchy(NamedTuple):
    """One mount of cgroup v2: its folder, and the path in the hierarchy of the group that is mounted there."""

    mount: str
    root: str

    def folder(self, path: str) -> str:
        """Return the folder of the group with this path in /proc; "" if the group is outside this mount."""
        # /proc names a group outside our cgroup namespace by a path with "/..".
        if "/.." in path or not f"{path}/".startswith(f"{self.root.rstrip('/')}/"):
            return ""
        return self.mount + path[len(self.root.rstrip("/")) :].rstrip("/")

    def path(self, folder: str) -> str:
        """Return the path of the group with this folder, as /proc/PID/cgroup has it."""
        return self.root.rstrip("/") + folder[len(self.mount) :] or "/"


def find_hierarchy() -> Hierarchy | None:
    """Return the first mount of cgroup v2 that contains our own group."""
    own = group_of("self")
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            if rest.startswith("cgroup2 "):
                root, mount = fields.split()[3:5]  # see proc_pid_mountinfo(5)
                hierarchy = Hierarchy(mount, root)
                if (folder := hierarchy.folder(own)) and os.path.isdir(folder):
                    return hierarchy
    return None


def write(path: str, text: str) -> None:
    """Write to a file of a cgroup in one call; raise OSError that names file, value and reason."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise OSError(error.errno, f"write {text} to {path}: {os.strerror(error.errno or 0)}") from error


def read(path: str) -> str:
    """Return the content of a file of a cgroup, "" if it cannot be read."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def is_real_root(folder: str) -> bool:
    """Whether the group is the root of the whole hierarchy, which may have both processes and child groups."""
    return not os.path.exists(f"{folder}/cgroup.type")


def pids_in(folder: str) -> list[int]:
    """Return the pids in a group, without those in groups below it; 0: a process outside our pid namespace."""
    return [int(line) for line in read(f"{folder}/cgroup.procs").split()]


def members(folder: str) -> list[int]:
    """Return the pids in a group and in the groups below it."""
    return [pid for group, _, _ in os.walk(folder) for pid in pids_in(group) if pid]


def freeze(folder: str, *, frozen: bool) -> None:
    """Freeze all processes of a group and of those below it, or thaw them."""
    write(f"{folder}/cgroup.freeze", "1" if frozen else "0")


def kill(folder: str) -> None:
    """Kill all processes of a group, by `cgroup.kill` or, before Linux 5.14, one by one while it is frozen."""
    if features.has("cgroup.kill") and os.path.exists(f"{folder}/cgroup.kill"):
        write(f"{folder}/cgroup.kill", "1")
        return
    freeze(folder, frozen=True)  # so that no process forks while others are killed; SIGKILL ends frozen processes
    try:
        for _ in range(KILL_ROUNDS):
            pids = members(folder)
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.001)
    finally:
        freeze(folder, frozen=False)


def remove(folder: str) -> bool:
    """Remove a group and those below it; return whether it is gone, which it cannot be before its last process."""
    try:
        os.rmdir(folder)  # most jobs make no groups of their own
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass
    for group, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(group)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
