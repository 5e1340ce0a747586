"""Scopes of jobs, by owner and by patterns for labels: the same condition in Python and in SQL."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from jobworker.model import JobSummary

_WILD = re.compile(r"[*?]")


class Scope(NamedTuple):
    """All jobs of an owner (None: of all) whose labels match; in a pattern `*` is any text and `?` any character."""

    owner: str | None = None
    labels: Mapping[str, str] = {}

    def holds(self, owner: str, labels: Mapping[str, str]) -> bool:
        if self.owner is not None and owner != self.owner:
            return False
        if not self.labels:
            return True
        return all(name in labels and _matches(pattern, labels[name]) for name, pattern in self.labels.items())

    def exact_labels(self) -> dict[str, str]:
        """Return the labels whose pattern is one value."""
        return {name: pattern for name, pattern in self.labels.items() if not _WILD.search(pattern)}

    def patterns(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the same condition as `holds`, but for owner and exact labels, as SQL with its values."""
        for name, pattern in self.labels.items():
            if _WILD.search(pattern):
                text = (
                    "EXISTS (SELECT 1 FROM labels AS one WHERE one.job = id AND one.label = ? AND one.value GLOB ?)"
                )
                yield text, [name, pattern.replace("[", "[[]")]


EVERYTHING = (Scope(),)


def sees(scopes: Iterable[Scope], job: JobSummary) -> bool:
    """Whether the job is within one of the scopes."""
    for scope in scopes:  # no generator: each call that names a job comes here  # noqa: SIM110
        if scope.holds(job.owner, job.labels):
            return True
    return False


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL)


def _matches(pattern: str, text: str) -> bool:
    return _compiled(pattern).fullmatch(text) is not None
