"""What came of one kind of hostility: figures to be printed, and the promises that were broken."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """`cases` counts what was tried; `broken` says which promise did not hold, and how."""

    part: str
    cases: int = 0
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)  # promises about times: held on a quiet machine only

    def require(self, held: bool, otherwise: str) -> None:
        if not held:
            self.broken.append(otherwise)

    def row(self) -> str:
        return "\n  ".join([f"{self.part}: {self.cases} cases", *self.notes])


def broken(outcomes: Iterable[Outcome], *, times: bool = False) -> list[str]:
    """Return the promises that were broken; with `times`, also those that a busy machine breaks."""
    return [
        f"{outcome.part.partition(' ')[0]}: {what}"
        for outcome in outcomes
        for what in (outcome.broken + outcome.figures if times else outcome.broken)
    ]


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile in ms of values in seconds; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 if ordered else 0.0


def judge(outcome: Outcome) -> None:
    """Print what came of it, and fail if a promise was broken."""
    print(outcome.row())
    failures = broken([outcome])
    assert not failures, failures
