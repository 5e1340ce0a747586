"""Give this process a /tmp and a /var/tmp of its own, which end with the last process that has them."""

import ctypes
import errno
import os

from jobworker.linux.syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    LIBC,
    MS_NODEV,
    MS_NOSUID,
    MS_REC,
    MS_SLAVE,
    check,
)

FOLDERS = ("/tmp", "/var/tmp")  # mounted upon, not written to


def enter_private_tmp() -> None:
    """Move to a mount namespace in which both are empty and in memory; raise OSError.

    Without privileges that takes a user namespace, in which this user is itself.
    """
    if LIBC.unshare(CLONE_NEWNS):
        if ctypes.get_errno() != errno.EPERM:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS)")
        uid, gid = os.geteuid(), os.getegid()
        check(LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare(CLONE_NEWUSER)")
        for name, text in {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    # Mounts of the host appear inside, not the other way round.
    check(LIBC.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_SLAVE), None), "mount of / as slave")
    for folder in FOLDERS:
        if os.path.isdir(folder):
            flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV)
            check(LIBC.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, b"mode=1777"), f"mount on {folder}")


def namespaces_of(pid: int) -> list[int]:
    """Return descriptors of the user and the mount namespace of a process; raise OSError."""
    return [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("user", "mnt")]


def enter_namespaces(theirs: list[int]) -> None:
    """Have the /tmp of the process to which these belong; raise OSError."""
    for fd, kind in zip(theirs, ("user", "mnt"), strict=False):
        if os.fstat(fd).st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino:
            check(LIBC.setns(fd, 0), f"setns({kind})")
