"""Decide when the keeper steps into the cgroup of a job, so that posix_spawn can start the job there.

A step in and out costs 0.1 ms, and saves the 0.7 ms that a fork by clone3 costs more than posix_spawn. But the kernel
makes a move wait 10 to 14 ms for an RCU grace period if it has moved no process for a while, on the whole host.
"""

import time

HOT_SECONDS = 0.012  # after a move, in which the next one does not wait
STREAM_SECONDS = 0.05  # between two launches of a stream, in which more are to be expected
STREAM_LAUNCHES = 4  # that make a stream: a single launch never waits
SAVED_SECONDS = 0.0007  # by a spawn in place of a fork
MOST_LOST = 0.03  # seconds that waits may cost more than the spawns have saved, and the other way round
FORKS_BETWEEN = 16  # before another attempt, if the waits have cost more


class Moves:
    """What the moves of this process have saved and cost."""

    def __init__(self) -> None:
        self._launched = 0.0  # on CLOCK_MONOTONIC: when the last launch began
        self._in_a_row = 0  # launches of the stream so far
        self._moved = -HOT_SECONDS  # on CLOCK_MONOTONIC: when this process last stepped out of a group
        self._balance = 0.0  # seconds saved, less those that the waits took
        self._forks = 0  # launches since the waits had cost too much

    def are_worth_it(self) -> bool:
        """Whether to step into the cgroup of the job that is launched now."""
        now = time.monotonic()
        self._in_a_row = self._in_a_row + 1 if now - self._launched < STREAM_SECONDS else 0
        self._launched = now
        if now - self._moved < HOT_SECONDS:
            return True
        if self._in_a_row < STREAM_LAUNCHES:
            return False
        if self._balance > -MOST_LOST:
            return True
        self._forks += 1
        if self._forks >= FORKS_BETWEEN:
            self._forks, self._balance = 0, 0.0
        return False

    def stepped_in(self, seconds: float) -> None:
        """Count a step into a group, which took so long."""
        self._balance = min(self._balance + SAVED_SECONDS - seconds, MOST_LOST)

    def stepped_out(self) -> None:
        """Count a step out of it."""
        self._moved = time.monotonic()
