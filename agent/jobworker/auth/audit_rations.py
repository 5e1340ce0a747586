"""Ration the lines of the audit log: a caller that repeats what fails must not push all other lines out."""

import time

from jobworker.rate_limit import MAX_KEYS, RateLimiter

PER_SECOND = 2.0  # lines of one caller that are recorded, on average
BURST = 200  # and at once
STRANGERS_PER_SECOND = 10.0  # lines of all callers that have not logged in, whatever number of addresses they have
STRANGERS_BURST = 1000
_ALL = ""


class Rations:
    """Decides which lines are left out, and counts them for the next line of the same caller."""

    def __init__(self) -> None:
        self._callers = RateLimiter(PER_SECOND, BURST)
        self._strangers = RateLimiter(STRANGERS_PER_SECOND, STRANGERS_BURST)
        # Lines left out since the last line of a caller.
        self._unwritten: dict[str, int] = {}

    def allows(self, caller: str, kind: str, *, stranger: bool) -> bool:
        """Take a token for a line; without one, count it and return False. Each kind of lines has its own tokens."""
        now = time.monotonic()
        if self._callers.allows(f"{kind} {caller}", now) and not (stranger and not self._strangers.allows(_ALL, now)):
            return True
        self._unwritten[caller] = self._unwritten.get(caller, 0) + 1
        if len(self._unwritten) > MAX_KEYS:
            del self._unwritten[next(iter(self._unwritten))]
        return False

    def take_unwritten(self, caller: str) -> int:
        """Return how many lines of a caller were left out, and forget it."""
        return self._unwritten.pop(caller, 0)
