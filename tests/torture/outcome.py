"""What a fault did: counted, to be printed or to be held against the promises."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from tests.torture.writer import LINE, lines

SEED = random.randrange(1_000_000)  # printed with a failure


@dataclass
class Outcome:
    """`statuses` counts how the exits came out: exact, lost, invented; `back` is seconds to serve again."""

    fault: str
    kills: int = 0
    written: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    marked: int = 0  # logs that say that they may be short
    silent: int = 0  # logs that are short and do not say so
    statuses: Counter[str] = field(default_factory=Counter)
    stall: float = 0.0
    twice: int = 0  # jobs that were run more than once
    stray: int = 0  # processes that were hit by mistake, or not hit, or for a reason that was not given
    missed: int = 0  # events that their receiver has never got
    oversized: int = 0  # answers beyond their limit
    leaked: int = 0  # kinds of things of which there are more than at the start
    notes: list[str] = field(default_factory=list)
    back: list[float] = field(default_factory=list)

    def stream(self, data: bytes, size: int) -> int:
        """Compare a stream with what was written to it; return how many bytes are missing."""
        self.written += size
        if data == lines(0, size // LINE):
            return 0
        numbers = [int(line) for line in data.split(b"\n") if len(line) == LINE - 1 and line.isdigit()]
        known = set(numbers)
        lost = size - len(known) * LINE
        self.lost += lost
        self.doubled += (len(numbers) - len(known)) * LINE
        self.reordered += sum(later < earlier for earlier, later in itertools.pairwise(numbers))
        return max(lost, 1)

    def row(self) -> str:
        lines = [f"{self.fault}: {self.kills} times"]
        if self.written:
            lines.append(
                f"{self.written / 1e6:.1f} MB written: {self.lost} B lost, {self.doubled} B doubled,"
                f" {self.reordered} reordered; {self.marked} logs marked, {self.silent} short in silence;"
                f" longest stall of a job {self.stall:.2f} s"
            )
        if self.statuses:
            lines.append("exits: " + ", ".join(f"{count} {how}" for how, count in sorted(self.statuses.items())))
        if self.back:
            lines.append(f"serves again after {median(self.back):.2f} s, at most {max(self.back):.2f} s")
        return "\n  ".join([*lines, *self.notes])


def broken(outcomes: Iterable[Outcome]) -> list[str]:
    """Return what no fault may do, of what was done."""
    return [
        f"{outcome.fault}: {what}"
        for outcome in outcomes
        for what, bad in {
            "bytes lost": outcome.lost,
            "bytes doubled": outcome.doubled,
            "lines reordered": outcome.reordered,
            "short in silence": outcome.silent,
            "run twice": outcome.twice,
            "hit by mistake or missed": outcome.stray,
            "events lost": outcome.missed,
            "answers too large": outcome.oversized,
            "kinds of things leaked": outcome.leaked,
            "statuses invented": outcome.statuses["invented"],
        }.items()
        if bad
    ]


def judge(outcome: Outcome) -> None:
    """Print what came of it, and fail if a promise was broken."""
    print(outcome.row())
    assert broken([outcome]) == []
