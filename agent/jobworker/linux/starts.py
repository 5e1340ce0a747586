"""Know when a process has started from the clock, in place of a look at /proc."""

import time

from jobworker.linux.proc import TICKS_PER_SECOND, start_of

NS_PER_TICK = 10**9 // TICKS_PER_SECOND


class StartClock:
    """The start of a process in ticks after boot, as /proc has it.

    The kernel takes it from CLOCK_BOOTTIME. If a clone began and ended in the same tick, there is only one answer.
    """

    def __init__(self) -> None:
        # Whether the clock agrees with /proc here; None: not compared yet. A container may show its processes others.
        self._agrees: bool | None = None if 10**9 % TICKS_PER_SECOND == 0 else False

    def now(self) -> int:
        """Return the tick of this moment."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // NS_PER_TICK

    def start_of(self, pid: int, began: int) -> int:
        """Return when a child started that was made since the tick `began`, and is not reaped; raise OSError."""
        if began != self.now() or self._agrees is False:
            return start_of(pid)
        if self._agrees is None:
            self._agrees = start_of(pid) == began
        return began if self._agrees else start_of(pid)
