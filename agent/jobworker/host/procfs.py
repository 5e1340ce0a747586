"""Read the memory of processes through /proc without waiting for one that hangs in the kernel.

Reading ``/proc/PID/environ`` or ``cmdline`` waits for the memory map of that process. If one of its threads hangs in
the kernel and holds the map, the read never returns. So each pass over processes runs in a thread of its own. A
thread that hangs is abandoned, and the next pass skips the process that it waits for.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import TypeVar

from jobworker.linux.syscalls import LIBC

STUCK_AFTER_SECONDS = 1.0  # for which one read may wait for a process
T = TypeVar("T")


ProcessKey = tuple[int, int]  # a pid and the start, in ticks after boot, that tells it from a later process

_stuck: set[ProcessKey] = set()  # processes for which a read waits


class ProcReader:
    """Reads files of /proc that may wait for a process, and knows for which process it waits."""

    def __init__(self) -> None:
        self.at: ProcessKey | None = None  # the process whose file is being read

    def read(self, pid: int, start: int, what: str) -> bytes:
        """Return the file `what` of a process, as `environ`; raise OSError, TimeoutError if another read hangs."""
        return self.call(pid, start, partial(_read, f"/proc/{pid}/{what}"))

    def call(self, pid: int, start: int, look: Callable[[], T]) -> T:
        """Return what `look` returns, which looks into this process in /proc; raise as `read`."""
        key = (pid, start)
        if key in _stuck:
            raise TimeoutError(f"the memory of process {pid} cannot be read: it hangs in the kernel")
        self.at = key
        try:
            return _as_its_user(pid, look)
        finally:
            self.at = None
            _stuck.discard(key)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _as_its_user(pid: int, look: Callable[[], T]) -> T:
    try:
        return look()
    except PermissionError:
        if os.geteuid() != 0:
            raise
    # Root in a container has no CAP_SYS_PTRACE: then only the process's own user may read its memory. The user for
    # access to files is set for this thread alone, and does not allow that user to signal us.
    info = os.stat(f"/proc/{pid}")
    try:
        LIBC.setfsgid(info.st_gid)
        LIBC.setfsuid(info.st_uid)
        return look()
    finally:
        LIBC.setfsuid(0)
        LIBC.setfsgid(os.getegid())


def run_with_stuck_guard(function: Callable[[ProcReader], T]) -> T:
    """Return what `function` returns; if one of its reads hangs, call it again without that process. Blocking."""
    while True:
        reader, result = ProcReader(), Future[T]()
        threading.Thread(target=_run, args=(function, reader, result), name="proc", daemon=True).start()
        at = reader.at
        while not wait([result], STUCK_AFTER_SECONDS).done:
            if at is not None and reader.at is at:  # the very same read as a second ago
                _stuck.add(at)
                break
            at = reader.at
        else:
            return result.result()


def _run(function: Callable[[ProcReader], T], reader: ProcReader, result: Future[T]) -> None:
    try:
        result.set_result(function(reader))
    except BaseException as error:
        result.set_exception(error)
