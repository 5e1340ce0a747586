"""Limit how often a key may act: one token bucket for each key, refilled at a steady rate.

There is no clock here: the caller passes the time, in seconds.
"""

MAX_KEYS = 10_000  # buckets kept; beyond that the one unused for longest is dropped


class RateLimiter:
    """Allow `rate` actions a second on average and `burst` at once; a rate of 0 is no limit."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        # Tokens left and when they were counted, for each key; the last used key is last.
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, key: str, now: float) -> bool:
        """Take a token for one action; return False, and take nothing, if none is left."""
        if not self._rate:
            return True
        tokens, counted_at = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - counted_at) * self._rate)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - allowed, now)
        if len(self._buckets) > MAX_KEYS:
            del self._buckets[next(iter(self._buckets))]
        return allowed

    def retry_after(self, key: str, now: float) -> float:
        """Return the seconds until the key has a token; 0 if it has one now."""
        if not self._rate:
            return 0.0
        tokens = self._tokens(key, now)
        return 0.0 if tokens >= 1 else (1 - tokens) / self._rate

    def refund(self, key: str, now: float) -> None:
        """Put back a token taken for an action that should not count."""
        if key in self._buckets:  # a bucket that was dropped counts as full
            self._buckets[key] = (min(self._burst, self._tokens(key, now) + 1), now)

    def _tokens(self, key: str, now: float) -> float:
        tokens, counted_at = self._buckets.get(key, (self._burst, now))
        return min(self._burst, tokens + (now - counted_at) * self._rate)
