"""Give a job a pid namespace of its own: when the init of the namespace is killed, the kernel kills all in it."""

import ctypes
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from jobworker.keeper.child import Birth, LaunchError, become_job, failure_line, find_program
from jobworker.keeper.wire import encode
from jobworker.linux import syscalls
from jobworker.linux.proc import MARKER
from jobworker.linux.syscalls import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, die_with

NAMESPACES = {"pid": CLONE_NEWPID | CLONE_NEWNS, "user+pid": CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS}
PRIVATE = syscalls.MS_REC | syscalls.MS_SLAVE  # mounts of the host appear inside, not the other way round
PROC_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


def run_in_fork(work: Callable[[int], None]) -> bytes:
    """Do something in a fork of this process; return what it wrote to its descriptor, when it is gone."""
    keeper = os.getpid()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as pipe:
        try:
            child = os.fork()
            if child == 0:
                try:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would lose the status of its children
                    die_with(keeper)
                    work(writer)
                finally:
                    os._exit(0)
        finally:
            os.close(writer)
        report = pipe.read()
    os.waitpid(child, 0)  # when it can be, its children have become ours
    return report


def enter_namespace(kind: str) -> None:
    """Have the children of this process born into a pid namespace; the first of them is its init."""
    uid, gid = os.geteuid(), os.getegid()
    ids = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    if syscalls.LIBC.unshare(NAMESPACES[kind]):
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")
    for name, text in ids.items() if kind == "user+pid" else ():
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, text.encode())
        os.close(fd)


def find_namespace() -> tuple[str, str]:
    """Return the kind of namespace that a job can have here, or "" and why it can have none."""

    def attempt(kind: str, report: int) -> None:
        try:
            enter_namespace(kind)
            init = os.fork()
            if init == 0:
                os._exit(0)
            os.waitpid(init, 0)
            os.write(report, b"yes")
        except OSError as error:
            os.write(report, str(error.strerror).encode())

    refused = ""
    for kind in NAMESPACES:
        try:
            refused = run_in_fork(lambda report, kind=kind: attempt(kind, report)).decode()  # type: ignore[misc]
        except OSError as error:
            refused = str(error.strerror)
        if refused == "yes":
            return kind, ""
    return "", refused or "the attempt died"


def start_in_namespace(kind: str, birth: Birth, job: str, report: int) -> NoReturn:
    """Be the helper that starts the init of a namespace and the job in it, reports their pids, and ends.

    As the helper stays in the keeper's namespace itself, both become children of the keeper, the nearest subreaper,
    when it ends. What is orphaned inside goes to the init.
    """
    keeper = os.getppid()
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would lose the status of its children
        birth.enter_groups()  # first: init and job are born in them
        enter_namespace(kind)
        die_with(keeper)  # after what changes the credentials, which would undo it
        os.write(report, encode({"init": start_init(job, report)}).encode() + b"\n")
        child = os.fork()
        if child == 0:
            become_job(birth._replace(enter_groups=lambda: None), report)
        os.write(report, encode({"pid": child}).encode() + b"\n")
    except OSError as error:
        os.write(report, failure_line(LaunchError("setup", error)))
    finally:
        os._exit(0)


def start_init(job: str, report: int) -> int:
    """Start pid 1 of the namespace, whose end is the end of all in it; return its pid."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as pipe:
        init = os.fork()
        if init == 0:
            try:
                os.close(report)  # only the job keeps it open
                run_init(job)
            except OSError as error:
                os.write(writer, str(error.errno).encode())
            finally:
                os._exit(1)
        os.close(writer)
        refused = pipe.read()
    if refused:
        raise OSError(int(refused), os.strerror(int(refused)))
    return init


def run_init(job: str) -> None:
    """Give the namespace a /proc of its own, if that is allowed, and sleep; only SIGKILL has an effect."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # outlives execve: the kernel reaps its children
    # Mounts of the host appear inside, not the other way round: else this /proc would become the host's.
    if not syscalls.LIBC.mount(None, b"/", None, ctypes.c_ulong(PRIVATE), None):
        syscalls.LIBC.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(PROC_FLAGS), None)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.execve(find_program("sleep", os.defpath), ["sleep", "2147483647"], {MARKER: job})
