"""What the agent counts while it runs: plain numbers, which cost a call almost nothing. A scrape reads them."""

from bisect import bisect_left
from collections import Counter

# Upper bounds in seconds; what takes longer is counted by the total alone.
CALL_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)
JOB_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0)


class Durations:
    """A histogram of seconds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # by the first bound that is not exceeded
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class Measures:
    """The counters of one agent; they begin at 0 when it starts."""

    def __init__(self) -> None:
        self.calls: dict[str, Durations] = {}  # by method: from its request to its answer, waiting included
        self.starts = Durations(JOB_BOUNDS)  # of jobs, from the call to the execve
        self.stops = Durations(JOB_BOUNDS)  # of jobs, from the request until all processes are gone
        self.kills = 0  # stops in which the agent killed what a strategy had left
        self.ended: Counter[str] = Counter()  # jobs, by the reason of their end
        self.logged = 0  # bytes of output of jobs that have ended
        self.dropped = 0  # bytes of it that were dropped again, as the log was full
        self.truncated = 0  # of these jobs, those with output that was never kept

    def add_call(self, method: str, seconds: float) -> None:
        """Count a call of a method of the protocol."""
        durations = self.calls.get(method)
        if durations is None:
            durations = self.calls[method] = Durations(CALL_BOUNDS)
        durations.add(seconds)
