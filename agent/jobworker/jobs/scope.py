"""Scopes of jobs, by owner and by patterns for labels: the same condition in Python and in SQL."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from jobworker.model import JobSummary


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

    def condition(self) -> tuple[str, list[str]]:
        """Return the same condition as SQL, and its values."""
        parts, values = ["1"], []
        if self.owner is not None:
            parts.append("owner = ?")
            values.append(self.owner)
        for name, pattern in self.labels.items():
            parts.append("EXISTS (SELECT 1 FROM json_each(record, '$.job.labels') WHERE key = ? AND value GLOB ?)")
            values += [name, pattern.replace("[", "[[]")]
        return f"({' AND '.join(parts)})", values


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
