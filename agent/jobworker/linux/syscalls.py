"""What the standard library does not wrap: constants of the kernel, prctl, capabilities, the status of a pidfd."""

import ctypes
import errno
import fcntl
import os
import signal
import struct
from typing import NamedTuple

from jobworker.linux import features

FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 2, 4, 8, 0x4000, 0x80000
PIDFD_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11  # ioctl, Linux 6.15: the status of a process not our child
PIDFD_INFO_EXIT = 1 << 3
WAITID = {"x86_64": 247, "aarch64": 95, "riscv64": 95}.get(os.uname().machine)  # the number of the system call
RUSAGE = struct.Struct("18l")  # two times of two fields each, then 14 counts
LIBC = ctypes.CDLL(None, use_errno=True)
ALL_SIGNALS = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]


def check(failed: int, name: str) -> None:
    """Raise OSError with errno if a call of the C library answered that it failed."""
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def become_subreaper() -> None:
    """Inherit the orphans among our descendants; raise OSError."""
    check(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; leave at once if it has died already."""
    LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def reserve(fd: int, start: int, length: int) -> None:
    """Have the disk keep room beyond the end of a file, if the file system can; raise OSError if it has none."""
    if LIBC.fallocate(fd, FALLOC_FL_KEEP_SIZE, ctypes.c_int64(start), ctypes.c_int64(length)):
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(code, os.strerror(code))


def exit_status(pidfd: int) -> tuple[int | None, int | None] | None:
    """Return code or signal of a process that has been reaped and was not our child; None if the kernel cannot."""
    if not features.has("pidfd_info"):
        return None
    info = bytearray(struct.pack("Q56x", PIDFD_INFO_EXIT))
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not struct.unpack_from("Q", info)[0] & PIDFD_INFO_EXIT:
        return None
    status = struct.unpack_from("i", info, 60)[0]
    return (None, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), None)


class Rusage(NamedTuple):
    """What a process and its children that were waited for have used: seconds, bytes, blocks of 512 bytes."""

    user: float
    system: float
    peak: int  # of the largest of these processes
    blocks_read: int
    blocks_written: int


def exit_rusage(pid: int) -> Rusage | None:
    """Return what an ended child has used, and leave it to be reaped; None if that cannot be known.

    os.wait4 would reap it, and os.waitid does not return what the system call does.
    """
    if WAITID is None:
        return None
    usage = ctypes.create_string_buffer(RUSAGE.size)
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    if LIBC.syscall(ctypes.c_long(WAITID), os.P_PID, pid, None, flags, usage):
        return None
    fields = RUSAGE.unpack(usage.raw)
    return Rusage(fields[0] + fields[1] / 1e6, fields[2] + fields[3] / 1e6, fields[4] * 1024, fields[11], fields[12])


def drop_bounding_set() -> None:
    """Give up every capability for all programs that this process will ever execute."""
    capability = 0
    while not LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
        capability += 1
    if ctypes.get_errno() != errno.EINVAL:  # the first that the kernel does not know
        raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")


def drop_capabilities() -> None:
    """Have none, whatever the securebits left, and get none by executing a program that would give some."""
    head = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    check(LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl(PR_CAP_AMBIENT)")
    check(LIBC.capset(head, bytes(24)), "capset")
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
