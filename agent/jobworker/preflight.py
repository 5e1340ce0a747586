"""Prepare the process for unusual environments such as containers, and refuse a start that would fail later."""

import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterable

from jobworker.errors import StartError
from jobworker.linux import departure, descriptors, inheritance
from jobworker.linux.proc import MARKER

ENDING = (signal.SIGTERM, signal.SIGINT)
HANDLED = (*ENDING, signal.SIGHUP)  # signals that the agent handles once it serves
MIN_FILES = 128  # descriptors: half for the agent itself, the rest for connections and logs
MIN_THREADS = 16  # keeper, pump and a first job included, which count against the same limit


def prepare() -> None:
    """Open the standard streams that are closed, and act as init if this is the first process of a container."""
    open_standard_streams()
    if os.getpid() == 1:
        act_as_init()


def open_standard_streams() -> None:
    """Open /dev/null for each closed standard stream: libuv aborts when it closes a descriptor below 3."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def leave_caller(keep: Iterable[int]) -> None:
    """Keep nothing of the process that started this agent in the background: no folder, no descriptor but `keep`.

    The folder would keep a disk from being unmounted; a lock held by a descriptor would never be released.
    Niceness, limits and the like were meant for another command. The environment stays, and no job gets it.
    """
    os.chdir("/")
    first = 3
    for fd in sorted(keep):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    for refused in (*inheritance.reset(), *inheritance.reset_limits()):
        sys.stderr.write(f"{refused}\n")


def leave_job() -> None:
    """Be no part of the job that started this agent in the background, if a job did: it would end with the job.

    The marker in /proc is the one that the process was started with; `jw` starts an agent without it.
    """
    os.environ.pop(MARKER, None)
    for refused in departure.leave_job():
        sys.stderr.write(f"the agent stays in the cgroup of a job, and ends with it: {refused}\n")


def act_as_init() -> None:
    """Hold signals, and start a session, so that the `Reaper` can tell the agent's own children from inherited ones.

    The `Reaper` skips children in the agent's session, because plugins wait for theirs. Processes that an engine
    starts in the container are in another session; but 0 is the id of all sessions from outside of the container.
    """
    hold_signals()
    if os.getsid(0) == 0 and not os.isatty(0):  # at a terminal a new session would lose Ctrl-C
        with contextlib.suppress(PermissionError):  # it leads a process group already
            os.setsid()


def hold_signals() -> None:
    """Block the signals that would end the agent, also across an execve, until it handles them.

    To pid 1 the kernel delivers no signal that is neither handled nor blocked, so a stop of the engine would be lost.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def release_signals() -> None:
    """Unblock the held signals: those that came since are handled now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def require() -> None:
    """Raise StartError if /proc, a system call, or enough descriptors or threads are not available."""
    if not os.path.exists("/proc/self/stat"):
        raise StartError("/proc is not mounted; expected procfs", hint="mount -t proc proc /proc")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        raise StartError(
            f"pidfd_open: {error.strerror}; expected Linux 5.3 or later, and a seccomp profile that allows it",
            hint="Docker 19 and earlier refuse it: update the engine, or docker run --security-opt seccomp=FILE",
        ) from error
    descriptors.raise_limit()
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < MIN_FILES:
        raise StartError(
            f"RLIMIT_NOFILE is {files}; expected {MIN_FILES} open files or more",
            hint="ulimit -n 1024, LimitNOFILE= of systemd, or docker run --ulimit nofile=1024",
        )
    started = _threads()
    if started < MIN_THREADS:
        processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        limit = "unlimited" if processes == resource.RLIM_INFINITY else processes
        raise StartError(
            f"only {started} threads can be started (RLIMIT_NPROC is {limit}); expected {MIN_THREADS} or more",
            hint="raise `ulimit -u`, TasksMax= of systemd, or docker run --pids-limit",
        )


def _threads() -> int:
    """Return how many threads can be started, up to MIN_THREADS; no file has what a user or cgroup has left."""
    enough = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(MIN_THREADS):
            thread = threading.Thread(target=enough.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:  # "can't start new thread"
        pass
    enough.set()
    for thread in threads:
        thread.join()
    return len(threads)
