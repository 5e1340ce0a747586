"""Measure what a process has and uses of its host: the disk of a state folder, descriptors, inotify instances."""

import contextlib
import os
import resource
from pathlib import Path
from typing import NamedTuple

from jobworker.linux import cgroupfs
from jobworker.linux.proc import group_of
from jobworker.paths import Home

MAX_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


class Measured(NamedTuple):
    """Sizes are in bytes; the sizes of a disk are what this user can have of it, without what is for root alone."""

    read_only: bool
    disk: int
    disk_used: int
    inodes: int  # 0: the file system has no limit
    inodes_used: int
    descriptors: int | None  # the limit of this process; None: unlimited
    descriptors_used: int
    inotify: int | None  # instances that this user can have; None: not known
    inotify_used: int
    audit: int


def measure(home: Home) -> Measured:
    """Return the figures for a state folder and this process; raise OSError if there is no such folder."""
    disk = os.statvfs(home.path)
    used = disk.f_blocks - disk.f_bfree
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Measured(
        read_only=bool(disk.f_flag & os.ST_RDONLY),
        disk=(used + disk.f_bavail) * disk.f_frsize,
        disk_used=used * disk.f_frsize,
        inodes=disk.f_files - disk.f_ffree + disk.f_favail if disk.f_files else 0,
        inodes_used=disk.f_files - disk.f_ffree,
        descriptors=None if soft == resource.RLIM_INFINITY else soft,
        descriptors_used=len(os.listdir("/proc/self/fd")) - 1,  # without that of the listing
        inotify=_instances_limit(),
        inotify_used=inotify_instances(os.getuid()),
        audit=sum(_size(path) for path in home.path.glob(f"{home.audit.name}*")),
    )


def _instances_limit() -> int | None:
    try:
        return int(MAX_INSTANCES.read_text())
    except (OSError, ValueError):
        return None


def inotify_instances(uid: int) -> int:
    """Return how many inotify instances the processes of a user have, as far as they can be seen."""
    count = 0
    for process in os.scandir("/proc"):
        if process.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if process.stat().st_uid == uid:
                    count += sum(_is_inotify(entry.path) for entry in os.scandir(f"{process.path}/fd"))
    return count


def _is_inotify(descriptor: str) -> bool:
    try:
        return os.readlink(descriptor) == "anon_inode:inotify"
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def own_group() -> tuple[str, bool]:
    """Return the folder of our own cgroup, "" without cgroup v2, and whether this user can make groups in it."""
    hierarchy = cgroupfs.find_hierarchy()
    if hierarchy is None:
        return "", False
    folder = hierarchy.folder(group_of("self"))
    return folder, os.access(folder, os.W_OK) and os.access(f"{folder}/cgroup.procs", os.W_OK)
