"""Which jobs a page of the job table has, as SQL.

A page is a walk along one index, newest first, that ends when the page is full: never over all jobs, and without a
sort. A condition with alternatives (states, scopes) is a walk for each of them, which SQLite merges.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from jobworker.jobs.scope import EVERYTHING, Scope
from jobworker.model import State

MAX_WALKS = 100  # in one statement; SQLite allows 500


class Query(NamedTuple):
    """The jobs that match all of this, within at least one of the scopes, newest first.

    `before`: those created before this job; `since`: from this one on; `limit`: so many at most.
    """

    states: Sequence[State] | None = None
    labels: Mapping[str, str] = {}
    owner: str | None = None
    before: str | None = None
    scopes: Sequence[Scope] = EVERYTHING
    limit: int = 100
    since: str | None = None

    def selects(self, limit: int) -> Iterator[tuple[str, list[Any]]]:
        """Yield statements, each for up to `limit` ids of jobs, and their values; none if no job can match.

        There are several if an authorizer has returned very many scopes. The same job may be in the rows of each.
        """
        walks = self._walks()
        while some := list(islice(walks, MAX_WALKS)):
            text = " UNION ".join(text for text, _ in some)
            values = [value for _, walk_values in some for value in walk_values]
            yield f"{text} ORDER BY id DESC LIMIT ?", [*values, limit]

    def _walks(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield a statement and its values for each combination of a scope and a state."""
        for scope in self.scopes:
            owners = {self.owner, scope.owner} - {None}
            exact = scope.exact_labels()
            if len(owners) > 1 or any(exact.get(label, value) != value for label, value in self.labels.items()):
                continue  # what is asked for and what may be seen have nothing in common
            for state in [None] if self.states is None else dict.fromkeys(self.states):
                yield self._walk(scope, {**exact, **self.labels}, state)

    def _walk(self, scope: Scope, labels: dict[str, str], state: State | None) -> tuple[str, list[Any]]:
        owner = self.owner if self.owner is not None else scope.owner
        conditions = [*scope.patterns()]
        job, source = "id", "jobs"
        # Few jobs run at a time: then their index is the shortest walk. Else a label is.
        if labels and (state is None or state.final or state == State.CREATED):
            (label, text), *others = labels.items()
            # CROSS JOIN keeps the order of the two: labels outside, which are in the order of their jobs.
            job, source = "labels.job", "labels CROSS JOIN jobs ON jobs.id = labels.job"
            conditions.append(("labels.label = ? AND labels.value = ?", [label, text]))
            labels = dict(others)
        conditions += [(_HAS_LABEL, [label, text]) for label, text in labels.items()]
        columns = (
            ("state = ?", state),
            ("owner = ?", owner),
            (f"{job} < ?", self.before),
            (f"{job} >= ?", self.since),
        )
        conditions += [(column, [value]) for column, value in columns if value is not None]
        where = " AND ".join(text for text, _ in conditions) or "1"
        values = [value for _, condition_values in conditions for value in condition_values]
        return f"SELECT {job} AS id FROM {source} WHERE {where}", values  # noqa: S608  # built of constants


_HAS_LABEL = "EXISTS (SELECT 1 FROM labels AS one WHERE one.job = id AND one.label = ? AND one.value = ?)"
