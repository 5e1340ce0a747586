"""The memory of the only job of a runner: see the kernel kill at the engine's limit, and hold the limit of the spec.

An engine may enforce no limit at all. Then the memory is measured from time to time, and a job that has more than its
limit is killed: later than the kernel would have done it, and with more memory used by then.
"""

import math
import os
import signal
import time
from typing import Any

from jobworker.keeper import limits_v1
from jobworker.keeper.descendants import Descendants
from jobworker.keeper.job import Job
from jobworker.linux import cgroupfs
from jobworker.linux.proc import group_of

MEASURE_SECONDS = 1.0  # between two measurements


class Memory:
    """The group that the engine has put this process into, and the limit in bytes; 0: there is none."""

    def __init__(self, descendants: Descendants, limits: dict[str, Any]) -> None:
        self._descendants = descendants
        self._limit: int = limits.get("memory") or 0
        self._next = 0.0 if self._limit else math.inf  # on CLOCK_MONOTONIC
        self._events = _events_file()
        self._kills = self._count()

    def timeout(self) -> float:
        """Return the seconds until there is something to do."""
        return max(0.0, self._next - time.monotonic())

    def look(self, job: Job) -> None:
        """Note that the kernel has killed a process at the limit of the group, and measure if it is time."""
        job.oom = job.oom or self._count() > self._kills
        if time.monotonic() >= self._next and not job.ended:
            self._next = time.monotonic() + MEASURE_SECONDS
            if self._descendants.usage()["memory"] > self._limit and self._measured() > self._limit:
                job.oom = True
                self._descendants.signal(signal.SIGKILL, strike=False)

    def _measured(self) -> int:
        """Return the bytes that all processes have, each shared page counted once; that takes longer."""
        return sum(map(_proportional, self._descendants.members()))

    def _count(self) -> int:
        words = cgroupfs.read(self._events).split()
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words[:-1] else 0


def _events_file() -> str:
    """Return the file that counts what the kernel kills in our own group, of cgroup v2 or v1; "" if there is none."""
    hierarchy = cgroupfs.find_hierarchy()
    if hierarchy is not None and os.path.exists(file := f"{hierarchy.folder(group_of('self'))}/memory.events"):
        return file
    folder = limits_v1.own_folder("memory")
    return f"{folder}/memory.oom_control" if folder else ""


def _proportional(pid: int) -> int:
    """Return the bytes of a process, of a shared page its part; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0
