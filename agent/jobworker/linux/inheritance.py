"""What a process has from the one that started it, and what agent, keeper and jobs have in its place.

An agent in the background may run for months, and a job that starts tomorrow is no part of what its first caller did.
So each value here is decided once, by the process that all others come from, and costs a launch nothing.
"""

import ctypes
import errno
import os
import resource
from collections.abc import Callable

from jobworker.linux.syscalls import LIBC

TIMER_SLACK = 50_000  # ns: the kernel's own default
COREDUMP_FILTER = 0x33  # the same: anonymous memory, ELF headers, huge pages
LOGINUID_UNSET = 0xFFFFFFFF  # as of a service: what a job does is not recorded as done by an administrator
PERSONALITY = 0xFF  # the bits of the machine; those above it switch protections off, as setarch -R does
USUAL_STACK, USUAL_FILES = 8 << 20, 1024  # soft limits
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
UNBOUND = ("CPU", "FSIZE", "DATA", "RSS", "AS")  # limits that a shell sets for its own commands
PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, PR_SET_THP_DISABLE, PR_GET_THP_DISABLE = 29, 30, 41, 42
KEYCTL_JOIN_SESSION_KEYRING = 1
_IOPRIO_SET, _SET_MEMPOLICY, _KEYCTL = {"x86_64": (251, 238, 250)}.get(os.uname().machine, (30, 237, 219))
_keyctl, _join = ctypes.c_long(_KEYCTL), ctypes.c_long(KEYCTL_JOIN_SESSION_KEYRING)


def new_session_keyring() -> None:
    """Have this process, and what it starts, be without the keys of the process that started it; raise OSError."""
    if LIBC.syscall(_keyctl, _join, None) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"keyctl: {os.strerror(code)}")


def try_new_session_keyring() -> None:
    """Do so if that works: a host may have no keyrings, and a container refuse them, to its jobs as well.

    A user without room for one more shares that of the keeper, which has no keys.
    """
    try:
        new_session_keyring()
    except OSError:
        pass


def take_loginuid(uid: int) -> None:
    """Have what this process does be recorded as done by this user, if the host audits and we may choose.

    Unset, as of a service, it could be chosen by the process itself, once: that of an administrator, for example.
    """
    try:
        _write("loginuid", uid, 10)
    except OSError:
        pass


def reset() -> list[str]:
    """Take the default of each value that an execve passes on; return why some stay, one text for each."""
    refused = []
    for name, attempt in RESETS:
        try:
            attempt()
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOENT, errno.EOPNOTSUPP):  # else the kernel does not have it
                refused.append(f"{name} stays as it was inherited: {error.strerror or error}")
    return refused


def keep_out_of_cores() -> None:
    """Have a core of this process hold none of its memory, in which secrets, tokens and keys are."""
    try:
        _write("coredump_filter", 0, 16)
    except OSError:
        pass  # a kernel without cores


def reset_limits() -> list[str]:
    """Take the usual limits of a process, for those that a shell sets; return which stay, one text for each."""
    refused = []
    for name in UNBOUND:
        if (hard := _raise_to(name, None)) != resource.RLIM_INFINITY:
            refused.append(f"RLIMIT_{name} stays {hard}: it cannot be raised without CAP_SYS_RESOURCE")
    _raise_to("STACK", USUAL_STACK)
    _raise_to("CORE", 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    usual = USUAL_FILES if hard == resource.RLIM_INFINITY else min(USUAL_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual, hard))
    return refused


def _raise_to(name: str, soft: int | None) -> int:
    """Have no hard limit if that is allowed, and this soft one (None: the same as the hard); return the hard one."""
    number = getattr(resource, f"RLIMIT_{name}")
    _, hard = resource.getrlimit(number)
    try:
        resource.setrlimit(number, (resource.RLIM_INFINITY if soft is None else soft, resource.RLIM_INFINITY))
        return resource.RLIM_INFINITY
    except (ValueError, OSError):
        bounded = hard if soft is None or -1 < hard < soft else soft  # -1: unlimited
        resource.setrlimit(number, (bounded, hard))
        return hard


def _nice() -> None:
    if os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def _policy() -> None:
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _affinity() -> None:
    """Run on all processors, of which the kernel leaves those of the cgroup."""
    os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))


def _ioprio() -> None:
    """Have the I/O priority follow the niceness."""
    _require(LIBC.syscall(ctypes.c_long(_IOPRIO_SET), ctypes.c_long(1), ctypes.c_long(0), ctypes.c_long(0)))


def _oom_score() -> None:
    _write("oom_score_adj", 0, 10)


def _coredump() -> None:
    _write("coredump_filter", COREDUMP_FILTER, 16)


def _loginuid() -> None:
    if os.geteuid() == 0:  # another user's is its own
        _write("loginuid", LOGINUID_UNSET, 10)


def _write(name: str, value: int, base: int) -> None:
    """Write a number to a file of this process, if it does not hold it already."""
    with open(f"/proc/self/{name}") as file:
        if int(file.read(), base) == value:
            return
    with open(f"/proc/self/{name}", "w") as file:
        file.write(f"{value:#x}" if base == 16 else str(value))


def _personality() -> None:
    present = LIBC.personality(ctypes.c_ulong(0xFFFFFFFF))
    if present & ~PERSONALITY:
        _require(LIBC.personality(ctypes.c_ulong(present & PERSONALITY)))


def _timers() -> None:
    if LIBC.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) != TIMER_SLACK:
        _require(LIBC.prctl(PR_SET_TIMERSLACK, TIMER_SLACK, 0, 0, 0))


def _huge_pages() -> None:
    if LIBC.prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0:
        _require(LIBC.prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0))


def _memory_policy() -> None:
    """Take memory from where the processor is; a container that refuses this has refused any other policy too."""
    LIBC.syscall(ctypes.c_long(_SET_MEMPOLICY), ctypes.c_long(0), None, ctypes.c_long(0))


def _require(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


RESETS: tuple[tuple[str, Callable[[], None]], ...] = (
    ("the scheduling policy", _policy),
    ("the niceness", _nice),
    ("the affinity", _affinity),
    ("the I/O priority", _ioprio),
    ("oom_score_adj", _oom_score),
    ("the coredump filter", _coredump),
    ("the loginuid", _loginuid),
    ("the personality", _personality),
    ("the timer slack", _timers),
    ("THP_DISABLE", _huge_pages),
    ("the memory policy", _memory_policy),
    ("the session keyring", new_session_keyring),
)
