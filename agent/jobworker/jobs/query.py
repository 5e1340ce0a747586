"""Which jobs a page of the job table has, as SQL."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jobworker.jobs.scope import EVERYTHING, Scope
from jobworker.model import State


class Query(NamedTuple):
    """The jobs that match all of this, within at least one of the scopes, newest first.

    `before`: those created before this job; `limit`: so many at most.
    """

    states: Sequence[State] | None = None
    labels: Mapping[str, str] = {}
    owner: str | None = None
    before: str | None = None
    scopes: Sequence[Scope] = EVERYTHING
    limit: int = 100

    def condition(self) -> tuple[str, list[Any]]:
        """Return the condition as SQL, and its values."""
        scopes = [scope.condition() for scope in self.scopes]
        where = ["(" + " OR ".join(text for text, _ in scopes) + ")"] if scopes else ["0"]
        values: list[Any] = [value for _, scope_values in scopes for value in scope_values]
        if self.states is not None:
            where.append(f"state IN ({','.join('?' * len(self.states))})")
            values += self.states
        for label, value in self.labels.items():
            where.append("EXISTS (SELECT 1 FROM json_each(record, '$.job.labels') WHERE key = ? AND value = ?)")
            values += [label, value]
        for column, value_ in (("owner = ?", self.owner), ("id < ?", self.before)):
            if value_ is not None:
                where.append(column)
                values.append(value_)
        return " AND ".join(where), values
