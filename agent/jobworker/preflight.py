"""Prepare the process for odd places, as containers are, and refuse a start that could not go well."""

import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterable

from jobworker.errors import StartError

ENDING = (signal.SIGTERM, signal.SIGINT)
HANDLED = (*ENDING, signal.SIGHUP)  # by the agent, once it serves
FILES = 128  # descriptors: half for the agent's own, the rest for connections and logs
THREADS = 16  # with keeper, pump and a first job, which count against the same limit as threads do


def prepare() -> None:
    """Open what of 0, 1 and 2 is closed, and act as the first process of a container where this is it."""
    open_standard_streams()
    if os.getpid() == 1:
        act_as_init()


def open_standard_streams() -> None:
    """Open /dev/null in place of each closed standard stream: libuv aborts when it closes one it was given."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def leave_caller(keep: Iterable[int]) -> None:
    """Keep nothing of whoever happened to start this agent in the background: no folder, no descriptor but these.

    The folder would keep a disk from being unmounted; a lock held by a descriptor would never be released.
    """
    os.chdir("/")
    first = 3
    for fd in sorted(keep):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def act_as_init() -> None:
    """Keep signals for later, and tell the agent's own children from what it inherits.

    The `Reaper` passes over children of the agent's session, because plugins wait for theirs. What an engine starts
    in the container comes from another session, but session 0 is anybody's from outside.
    """
    hold_signals()
    if os.getsid(0) == 0 and not os.isatty(0):  # at a terminal Ctrl-C is worth more
        with contextlib.suppress(PermissionError):  # it leads its process group
            os.setsid()


def hold_signals() -> None:
    """Block what would end the agent, also across an execve, until it is handled.

    From pid 1 the kernel keeps a signal that is neither handled nor blocked: an engine's stop would wait in vain.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def release_signals() -> None:
    """Take the signals that came meanwhile: they are handled now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def require() -> None:
    """Raise StartError if /proc, system calls, descriptors or threads would not do."""
    if not os.path.exists("/proc/self/stat"):
        raise StartError("/proc is not mounted; expected procfs", hint="mount -t proc proc /proc")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        raise StartError(
            f"pidfd_open: {error.strerror}; expected Linux 5.3 or later, and a seccomp profile that allows it",
            hint="an engine as old as Docker 19 refuses it: update it, or docker run --security-opt seccomp=FILE",
        ) from error
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FILES:
        raise StartError(
            f"RLIMIT_NOFILE is {files}; expected {FILES} open files or more",
            hint="ulimit -n 1024, LimitNOFILE= of systemd, or docker run --ulimit nofile=1024",
        )
    started = _threads()
    if started < THREADS:
        processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        limit = "unlimited" if processes == resource.RLIM_INFINITY else processes
        raise StartError(
            f"only {started} threads can be started (RLIMIT_NPROC is {limit}); expected {THREADS} and more for jobs",
            hint="raise `ulimit -u`, TasksMax= of systemd, or docker run --pids-limit",
        )


def _threads() -> int:
    """Return how many threads can be started, up to THREADS: neither a user's nor a cgroup's use can be read."""
    enough = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(THREADS):
            thread = threading.Thread(target=enough.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:  # "can't start new thread"
        pass
    enough.set()
    for thread in threads:
        thread.join()
    return len(threads)
