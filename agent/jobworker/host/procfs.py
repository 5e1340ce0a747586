"""Look through /proc without being held up by a process that hangs in the kernel.

Who reads ``/proc/PID/environ`` or ``cmdline`` waits for the memory map of that process. Where one of its threads
hangs in the kernel and holds the map, the wait has no end. So whoever looks does so in a thread of its own,
which is left to the process that holds it up; the next look passes that one over.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from jobworker.linux.syscalls import LIBC

LONGEST = 1.0  # seconds that a process may take to show its memory
T = TypeVar("T")


Who = tuple[int, int]  # a pid and the start, in ticks after boot, that tells it from a later one

_held_up_by: set[Who] = set()


class Look:
    """Reads what waits for a process, and knows at which one it is."""

    def __init__(self) -> None:
        self.at: Who | None = None

    def read(self, pid: int, start: int, what: str) -> bytes:
        """Return `environ` or `cmdline` of a process; raise OSError, also where it holds another look up."""
        who = (pid, start)
        if who in _held_up_by:
            raise TimeoutError(f"the memory of process {pid} cannot be read: it hangs in the kernel")
        self.at = who
        try:
            return _read(pid, what)
        finally:
            self.at = None
            _held_up_by.discard(who)


def _read(pid: int, what: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:
            return file.read()
    except PermissionError:
        if os.geteuid() != 0:
            raise
    # Root in a container has no CAP_SYS_PTRACE: only a process's own user may look at it then. The file system's
    # idea of the user is one for each thread, and gives nobody a hold on this one.
    info = os.stat(f"/proc/{pid}")
    try:
        LIBC.setfsgid(info.st_gid)
        LIBC.setfsuid(info.st_uid)
        with open(f"/proc/{pid}/{what}", "rb") as file:
            return file.read()
    finally:
        LIBC.setfsuid(0)
        LIBC.setfsgid(os.getegid())


def patiently(function: Callable[[Look], T]) -> T:
    """Return what a function finds; it is called again where a process holds it up, a second or two later."""
    while True:
        look, found = Look(), Future[T]()
        threading.Thread(target=_run, args=(function, look, found), name="look", daemon=True).start()
        at = look.at
        while not wait([found], LONGEST).done:
            if at is not None and look.at is at:
                _held_up_by.add(at)
                break
            at = look.at
        else:
            return found.result()


def _run(function: Callable[[Look], T], look: Look, found: Future[T]) -> None:
    try:
        found.set_result(function(look))
    except BaseException as error:
        found.set_exception(error)
