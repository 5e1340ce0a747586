"""How often somebody may do something: a bucket of tokens for each key, refilled at a rate.

No clock: the time is an argument.
"""

KEYS = 10_000  # buckets that are kept; one that has been full for longest goes first


class Rates:
    """`rate` a second on average, `burst` at once; a rate of 0 is no limit."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, and as of when; the last used are last

    def wait(self, key: str, now: float) -> float:
        """Return for how many seconds the key has to wait until there is a token; 0 where there is one."""
        if not self._rate:
            return 0.0
        left = self._left(key, now)
        return 0.0 if left >= 1 else (1 - left) / self._rate

    def take(self, key: str, now: float) -> float:
        """Take a token and return 0, or return how long to wait where there is none."""
        wait = self.wait(key, now)
        if self._rate and not wait:
            left = self._left(key, now) - 1
            self._buckets.pop(key, None)
            self._buckets[key] = (left, now)
            if len(self._buckets) > KEYS:
                del self._buckets[next(iter(self._buckets))]
        return wait

    def give_back(self, key: str, now: float) -> None:
        """Put back a token that was taken for what turned out to be none of its matter."""
        if key in self._buckets:  # one that is gone is as good as full
            self._buckets[key] = (min(self._burst, self._left(key, now) + 1), now)

    def _left(self, key: str, now: float) -> float:
        left, then = self._buckets.get(key, (self._burst, now))
        return min(self._burst, left + (now - then) * self._rate)
