"""Give this process a /tmp, a /var/tmp and an IPC of its own, which end with the last process that has them.

Shared memory is as good a place as /tmp to read or prepare what is meant for another user: that of POSIX is in
/dev/shm, that of System V, its semaphores and all message queues are in the IPC namespace.
"""

import ctypes
import errno
import os

from jobworker.linux.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    LIBC,
    MS_NODEV,
    MS_NOSUID,
    MS_REC,
    MS_SLAVE,
    check,
)

FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # mounted upon, not written to
KINDS = ("user", "mnt", "ipc")  # of namespaces; the first decides what may be done in the others


def enter_private_tmp() -> None:
    """Move to a mount and an IPC namespace in which all are empty, and folders in memory; raise OSError.

    Without privileges that takes a user namespace, in which this user is itself.
    """
    if LIBC.unshare(CLONE_NEWNS | CLONE_NEWIPC):
        if ctypes.get_errno() != errno.EPERM:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS | CLONE_NEWIPC)")
        uid, gid = os.geteuid(), os.getegid()
        check(LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC), "unshare(CLONE_NEWUSER)")
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
    """Return descriptors of the namespaces of a process; raise OSError."""
    return [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in KINDS]


def enter_namespaces(theirs: list[int]) -> None:
    """Have the /tmp of the process to which these belong; raise OSError."""
    for fd, kind in zip(theirs, KINDS, strict=False):
        if os.fstat(fd).st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino:
            check(LIBC.setns(fd, 0), f"setns({kind})")
