"""Bound what strangers can have libraries write to the log."""

import logging
import time

from jobworker.rate_limit import RateLimiter

LIBRARIES = ("websockets.server", "asyncio")
TRACEBACKS = 3  # at once, then one a minute, for each message
LINES = 30  # the same without a traceback, then one a second


class Bounded(logging.Filter):
    """Drops records whose message came too often: a library logs each failure of each connection."""

    def __init__(self) -> None:
        super().__init__()
        self._tracebacks = RateLimiter(1 / 60, TRACEBACKS)
        self._lines = RateLimiter(1, LINES)

    def filter(self, record: logging.LogRecord) -> bool:
        limiter = self._tracebacks if record.exc_info else self._lines
        return limiter.allows(str(record.msg)[:80], time.monotonic())


def bound_libraries() -> None:
    """Bound the records of the libraries that serve connections, which are those of warnings and errors."""
    for name in LIBRARIES:
        logging.getLogger(name).addFilter(Bounded())
