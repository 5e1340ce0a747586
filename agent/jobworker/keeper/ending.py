"""End what a job has left behind, and all of it when the engine is about to do so: in time before its SIGKILL."""

import math
import signal
import time
from typing import Any

from jobworker.keeper.descendants import Descendants
from jobworker.keeper.job import Job

ENGINE = "the engine's TERM"
LEFTOVERS = "leftovers"
EARLIER_SECONDS = 2.0  # than the engine's SIGKILL: for the exit to be written
KILL_AGAIN_SECONDS = 0.1  # between two SIGKILLs for a tree that does not end
KILL_GRACE, STOP_SIGNAL, STOP_GRACE = 30.0, int(signal.SIGTERM), 10.0  # of a launch that lacks them


class Ending:
    """The plan of the job: `launch` has it. `by` is what has ended its processes, if this did."""

    def __init__(self, launch: dict[str, Any], job: Job, descendants: Descendants) -> None:
        stop = launch.get("stop") or {}
        self._signal = int(stop.get("signal", STOP_SIGNAL))
        self._grace = float(stop.get("grace", STOP_GRACE))  # seconds
        self._kill_grace = float(launch.get("kill_grace", KILL_GRACE))  # seconds between the engine's TERM and KILL
        self._leave = launch.get("leftovers") == "leave"
        self._job = job
        self._descendants = descendants
        self._kill_at = math.inf  # on CLOCK_MONOTONIC
        self._seen_end = False  # the main process was seen to have ended
        self.by = ""
        self.killed: dict[int, str] = {}  # names by pid of those that got our SIGKILL

    def terminate(self) -> None:
        """Pass the engine's TERM on as the signal that stops this job, in time before the engine's KILL."""
        if self.by == ENGINE:
            return  # it was sent again
        self.by = ENGINE
        if not self._job.ended:
            self._job.by = ENGINE
        self._kill_at = time.monotonic() + max(self._kill_grace - EARLIER_SECONDS, self._kill_grace / 2)
        self._descendants.signal(self._signal, strike=False)
        self._descendants.signal(signal.SIGCONT, strike=False)  # one that stands still would not notice

    def timeout(self) -> float:
        """Return the seconds until there is something to do."""
        return max(0.0, self._kill_at - time.monotonic())

    def look(self) -> None:
        """Do what is due."""
        if self._job.ended and not self._seen_end:
            self._seen_end = True
            if not self._leave and not self.by and not self._descendants.are_gone():
                self.by = LEFTOVERS
                self._kill_at = time.monotonic() + self._grace
                self._descendants.signal(self._signal, strike=False)
        if time.monotonic() >= self._kill_at:
            self._kill_at = time.monotonic() + KILL_AGAIN_SECONDS
            self.killed |= self._descendants.signal(signal.SIGKILL, strike=False)
