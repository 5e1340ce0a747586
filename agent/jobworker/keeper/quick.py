"""Decide which launches need no fork: those whose program and folder cannot keep posix_spawn waiting.

posix_spawn is cheaper than a fork, but its caller waits until the child has executed the program. That can take as
long as the owner of the file wishes (a lease), or a file system that a process or another host serves. So the program
must be in a folder of the system: only root can change what is there, and no other user can hold a lease on it.
"""

import os
import stat
from typing import Any

from jobworker.linux.lookup import device_of, local_devices, open_folder_at_once

FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
# What a launch may have that posix_spawn cannot do.
CHANGES = ("user", "umask", "nice", "rlimits", "tty", "sandbox", "private_tmp")
LONGEST_PATH = 512  # characters of a PATH that is searched here
LINKS = 4  # symbolic links that are followed from one name to the next in the same folder
SCRIPT = b"#!"


class QuickPath:
    """What is known of the programs of this host."""

    def __init__(self) -> None:
        try:
            self._local = local_devices()  # file systems that ask no process and no other host
        except OSError:
            self._local = set()
        root = os.stat("/").st_dev
        # What folders of jobs are on. But for "/" no numbers without a device (0:N): a file system that is mounted
        # later, and asks a process or another host, may get the number of one that is gone.
        self._disks = {device for device in self._local if os.major(device) or device == root}
        # By name: the folders that only root can change, and so can any folder above them.
        self._folders = {name: real for name in FOLDERS if (real := self._real_folder(name))}
        self._programs: dict[str, tuple[int, int, int]] = {}  # by file: device, inode, ctime; no script, and root's

    def _real_folder(self, name: str) -> str:
        """Return the real path of a folder of the system; "" if a user other than root could change it."""
        try:
            real = os.path.realpath(name, strict=True)
            above = real
            while True:
                if not self._is_roots(os.stat(above)):
                    return ""
                if above == "/":
                    return real
                above = os.path.dirname(above)
        except OSError:
            return ""

    def _is_roots(self, found: os.stat_result) -> bool:
        writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        return found.st_uid == 0 and not writable and found.st_dev in self._local

    def program(self, message: dict[str, Any]) -> str | None:
        """Return the file to execute if posix_spawn can start this job at once, else None."""
        if message.get("namespace") or message.get("limits"):
            return None
        if any(message.get(change) is not None for change in CHANGES):
            return None
        name, path = message["argv"][0], message["env"].get("PATH", os.defpath)
        if "/" in name:
            folder, _, base = name.rpartition("/")
            return name if folder in self._folders and self._is_quick(folder, base) else None
        if not name or len(path) > LONGEST_PATH:
            return None
        for folder in path.split(":"):
            if folder not in self._folders:
                return None
            try:
                os.lstat(f"{self._folders[folder]}/{name}")
            except OSError:
                continue  # not in this one
            return f"{folder}/{name}" if self._is_quick(folder, name) else None
        return None  # the child finds out why

    def _is_quick(self, folder: str, name: str) -> bool:
        """Whether the file is a program of root's and no script, found without leaving the folder."""
        real = self._folders[folder]
        try:
            for _ in range(LINKS):
                found = os.lstat(f"{real}/{name}")
                if not stat.S_ISLNK(found.st_mode):
                    return self._is_program(f"{real}/{name}", found)
                name = os.readlink(f"{real}/{name}")
                if "/" in name:
                    return False  # it leads to another folder: whose is that?
        except OSError:
            pass
        return False

    def _is_program(self, file: str, found: os.stat_result) -> bool:
        known = (found.st_dev, found.st_ino, found.st_ctime_ns)
        if self._programs.get(file) == known:
            return True
        if not stat.S_ISREG(found.st_mode) or not self._is_roots(found) or not found.st_mode & stat.S_IXOTH:
            return False
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # EWOULDBLOCK on a lease, which root may hold
        try:
            if os.read(fd, len(SCRIPT)) == SCRIPT:
                return False  # its interpreter may be anywhere
        finally:
            os.close(fd)
        self._programs[file] = known
        return True

    def enter(self, folder: str) -> bool:
        """Change to the folder of a job if that takes no time; return whether it did."""
        if folder == "/":
            return True  # this process is there
        try:
            fd = open_folder_at_once(folder)
        except OSError:
            return False
        try:
            if device_of(fd) not in self._disks:
                return False
            os.fchdir(fd)  # to what was looked up, and not by a name that leads elsewhere by now
            return True
        except OSError:
            return False
        finally:
            os.close(fd)
