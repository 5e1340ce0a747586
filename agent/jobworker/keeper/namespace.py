"""Give a job a pid namespace of its own: when the init of the namespace is killed, the kernel kills all in it."""

import ctypes
import errno
import json
import os
import signal
from collections.abc import Callable
from typing import Any

from jobworker.keeper.spawn import LaunchError, find_program, spawn
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


def spawn_in_namespace(
    kind: str, message: dict[str, Any], names: list[str], nofile: tuple[int, int]
) -> tuple[int, int]:
    """Start the program in a pid namespace of its own; return the pids of its init and of it.

    A helper enters the namespace, starts both and leaves: as it is in the keeper's namespace itself, both
    become children of the keeper, the nearest subreaper. What is orphaned inside goes to the init.
    """
    report: dict[str, Any] = {"step": "setup", "errno": errno.ECANCELED}  # if it dies before it can report
    try:
        for line in run_in_fork(lambda report: start_in_namespace(kind, message, names, nofile, report)).splitlines():
            report |= json.loads(line)
    except OSError as error:
        raise LaunchError("setup", error) from error
    if "pid" in report:
        return report["init"], report["pid"]
    if "init" in report:
        os.kill(report["init"], signal.SIGKILL)
        os.waitpid(report["init"], 0)
    raise LaunchError(report["step"], OSError(report["errno"], os.strerror(report["errno"])))


def start_in_namespace(
    kind: str, message: dict[str, Any], names: list[str], nofile: tuple[int, int], report: int
) -> None:
    """Start the init of a namespace and the program, and report their pids, or the step that failed."""
    keeper = os.getppid()
    try:
        enter_namespace(kind)
        die_with(keeper)  # again: what changes the credentials may have undone it
        os.write(report, encode({"init": start_init(message["id"])}).encode() + b"\n")
        os.write(report, encode({"pid": spawn(message, names, nofile)}).encode())
    except LaunchError as error:
        os.write(report, encode({"step": error.step, "errno": error.errno}).encode())
    except OSError as error:
        os.write(report, encode({"step": "setup", "errno": error.errno}).encode())


def start_init(job: str) -> int:
    """Start pid 1 of the namespace, whose end is the end of all in it; return its pid."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as pipe:
        init = os.fork()
        if init == 0:
            try:
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
    """Give the namespace a /proc of its own, where that is allowed, and sleep: no signal but SIGKILL is heard."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # outlives execve: the kernel reaps its children
    # Mounts of the host appear inside, not the other way round: else this /proc would become the host's.
    if not syscalls.LIBC.mount(None, b"/", None, ctypes.c_ulong(PRIVATE), None):
        syscalls.LIBC.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(PROC_FLAGS), None)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.execve(find_program("sleep", os.defpath), ["sleep", "2147483647"], {MARKER: job})
