"""Kernel interfaces that the standard library lacks: prctl, capabilities, fallocate, the exit status of a pidfd."""

import ctypes
import errno
import fcntl
import os
import signal
import struct
import sys
from typing import NamedTuple

from jobworker.linux import features

FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4  # ambient capabilities outlive an execve
CAPABILITY_VERSION_3 = 0x20080522  # the layout of 64-bit capability sets
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x8000000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 2, 4, 8, 0x4000, 0x80000
PIDFD_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11  # ioctl of Linux 6.15: status of a process that is not our child
PIDFD_INFO_EXIT = 1 << 3
OPENAT2 = 437  # the number of the system call, the same on all machines of our list
OPEN_HOW = struct.Struct("QQQ")  # flags, mode, resolve
RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x04, 0x08
# Its number as a system call, for a process of 64 bits.
WAITID = {"x86_64": 247, "aarch64": 95, "riscv64": 95}.get(os.uname().machine) if sys.maxsize > 1 << 32 else None
RUSAGE = struct.Struct("18l")  # struct rusage: user and system time (seconds, microseconds), then 14 counters
SIGINFO = struct.Struct("8xi4xi4xi")  # siginfo_t of a child on these machines: si_code, si_pid, si_status
M_MMAP_THRESHOLD = -3  # of mallopt
LIBC = ctypes.CDLL(None, use_errno=True)
_WAITID = ctypes.c_long(WAITID or 0)
_info, _usage = ctypes.create_string_buffer(128), ctypes.create_string_buffer(RUSAGE.size)  # what waitid fills
ALL_SIGNALS = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]


# That the C library uses between threads, and keeps out of all sets of signals. Its posix_spawn has them ignored.
INTERNAL_SIGNALS = (32, 33)
RT_SIGACTION = {"x86_64": 13, "aarch64": 134, "riscv64": 134}.get(os.uname().machine)


def check(failed: int, name: str) -> None:
    """Raise OSError with errno if a function of the C library returned a failure."""
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def map_large_blocks(size: int) -> None:
    """Have malloc of glibc give each block of so many bytes, or more, pages of its own, whatever it learns later.

    Those of a block that are never touched, or are freed, then cost nothing.
    """
    if hasattr(LIBC, "mallopt"):
        LIBC.mallopt(M_MMAP_THRESHOLD, size)


def reset_internal_signals() -> None:
    """Have the signals of the C library do what they do by default, if it does not use them here: no thread yet."""
    action = bytes(32)  # struct sigaction of the kernel: SIG_DFL, no flags, no mask
    if RT_SIGACTION is not None:
        for number in INTERNAL_SIGNALS:
            LIBC.syscall(ctypes.c_long(RT_SIGACTION), number, action, None, ctypes.c_size_t(8))


def become_subreaper() -> None:
    """Become the parent of every descendant whose own parent ends; raise OSError."""
    check(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once if the parent has died already."""
    LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def reserve(fd: int, start: int, length: int) -> None:
    """Reserve disk space behind the end of a file, if the file system can; raise OSError if there is no space."""
    if LIBC.fallocate(fd, FALLOC_FL_KEEP_SIZE, ctypes.c_int64(start), ctypes.c_int64(length)):
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(code, os.strerror(code))


def punch(fd: int, end: int) -> None:
    """Free the disk space of the first bytes of a file, which become zeros, if the file system can; raise OSError."""
    how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    if LIBC.fallocate(fd, how, ctypes.c_int64(0), ctypes.c_int64(end)):
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(code, os.strerror(code))


def openat2(folder: int, path: str, flags: int, mode: int) -> int:
    """Open a file below a folder without following a link, and return its descriptor; raise OSError."""
    how = OPEN_HOW.pack(flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    fd: int = LIBC.syscall(ctypes.c_long(OPENAT2), folder, os.fsencode(path), how, ctypes.c_size_t(OPEN_HOW.size))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd


def exit_status(pidfd: int) -> tuple[int | None, int | None] | None:
    """Return (code, signal) of a reaped process that was not our child; None if the kernel does not know it."""
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
    """Resources that a process and its reaped children have used: seconds, bytes, blocks of 512 bytes."""

    user: float
    system: float
    peak: int  # resident memory of the largest of these processes
    blocks_read: int
    blocks_written: int


class EndedChild(NamedTuple):
    """A child that has ended and is not reaped yet, as waitid(2) has it."""

    pid: int
    code: int  # CLD_EXITED, CLD_KILLED or CLD_DUMPED
    status: int  # the exit code, or the number of the signal
    usage: Rusage | None  # None: no number of the system call is known for this machine


def ended_child() -> EndedChild | None:
    """Return a child that has ended, without reaping it; None if none has. Raise ChildProcessError if there is none.

    os.wait4 would reap the child, and os.waitid drops the rusage that the system call returns.
    """
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    if WAITID is None:
        info = os.waitid(os.P_ALL, 0, flags)
        return info and EndedChild(info.si_pid, info.si_code, info.si_status, None)
    if LIBC.syscall(_WAITID, os.P_ALL, 0, _info, flags, _usage):
        raise OSError(ctypes.get_errno(), "waitid")
    code, pid, status = SIGINFO.unpack_from(_info)
    if not pid:
        return None
    used = RUSAGE.unpack_from(_usage)
    usage = Rusage(used[0] + used[1] / 1e6, used[2] + used[3] / 1e6, used[4] * 1024, used[11], used[12])
    return EndedChild(pid, code, status, usage)


def drop_bounding_set() -> None:
    """Remove every capability from those that programs executed by this process can get; raise OSError."""
    capability = 0
    while not LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
        capability += 1
    if ctypes.get_errno() != errno.EINVAL:  # EINVAL: the first number that the kernel does not know
        raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")


def drop_capabilities() -> None:
    """Drop all capabilities, whatever the securebits are, and get none by executing a program that grants some."""
    head = struct.pack("Ii", CAPABILITY_VERSION_3, 0)  # 0: of this process
    check(LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl(PR_CAP_AMBIENT)")
    check(LIBC.capset(head, bytes(24)), "capset")
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
