"""Tell a keeper that is stuck from one that is slow, or that could not run."""

import time

from jobworker.linux.proc import stat_of

SILENCE_SECONDS = 5.0  # without an answer, after which a keeper is stuck: no request may take so long
BUSY_SECONDS = 60.0  # the same for one that computes or waits for a processor, as on a slow host
CHECK_SECONDS = 1.0  # between two checks, while it owes an answer


class Silence:
    """How long a keeper has not answered; all times are seconds on CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self._last = 0.0  # when the keeper last sent something; plus the time that we stood still since
        self._due = 0.0  # when the next check is due
        self._ticks = 0  # of the processor that the keeper had used at the last check

    def begin(self) -> None:
        """The keeper owes an answer from now on, or has just sent one."""
        self._last = time.monotonic()

    def next_check(self) -> float:
        """Return the seconds until the next check."""
        self._due = time.monotonic() + CHECK_SECONDS
        return CHECK_SECONDS

    def check(self, pid: int) -> float:
        """Return for how long the keeper has been silent if it is stuck, else 0.

        Time in which this process did not run does not count: the keeper may have stood still with it, as on a host
        that was suspended, or its answer waits to be read.
        """
        now = time.monotonic()
        self._last = min(now, self._last + max(0.0, now - self._due))
        allowed = BUSY_SECONDS if self._is_busy(pid) else SILENCE_SECONDS
        return now - self._last if now - self._last >= allowed else 0.0

    def _is_busy(self, pid: int) -> bool:
        """Whether the keeper is runnable, or has run since the last check."""
        try:
            fields = stat_of(pid)
        except OSError:
            return False
        before, self._ticks = self._ticks, int(fields[11]) + int(fields[12])
        return fields[0] == "R" or self._ticks != before
