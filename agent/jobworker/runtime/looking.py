"""Look through /proc without being held up by a process that hangs in the kernel.

Who reads ``/proc/PID/environ`` or ``cmdline`` waits for the memory map of that process. Where one of its threads
hangs in the kernel and holds the map, the wait has no end. So whoever looks does so in a thread of its own,
which is left to the process that holds it up; the next look passes that one over.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

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
            with open(f"/proc/{pid}/{what}", "rb") as file:
                return file.read()
        finally:
            self.at = None
            _held_up_by.discard(who)


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
