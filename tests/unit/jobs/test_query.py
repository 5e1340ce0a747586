"""A page has the jobs that match, in order, and is a walk along an index: no sort, and not over all jobs."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobworker.jobs.database import open_for_writing
from jobworker.jobs.query import Query
from jobworker.jobs.scope import Scope
from jobworker.model import State

OWNERS = ["ann", "bob"]
LABELS = st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["a", "ab", "[a]"]))
PATTERNS = st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["a", "a*", "?b", "[a]", "*"]))
OWNER = st.none() | st.sampled_from(OWNERS)
SCOPES = st.lists(st.builds(Scope, OWNER, PATTERNS), max_size=3)
QUERIES = st.builds(
    Query,
    states=st.none() | st.lists(st.sampled_from(list(State)), max_size=3),
    labels=LABELS,
    owner=OWNER,
    before=st.none() | st.sampled_from(["j03", "j10"]),
    scopes=SCOPES,
    since=st.none() | st.sampled_from(["j02", "j05"]),
)


class Row(NamedTuple):
    id: str
    state: State
    owner: str
    labels: dict[str, str]

    def matches(self, query: Query) -> bool:
        return (
            (query.states is None or self.state in query.states)
            and (query.owner is None or self.owner == query.owner)
            and (query.before is None or self.id < query.before)
            and (query.since is None or self.id >= query.since)
            and all(self.labels.get(label) == value for label, value in query.labels.items())
            and any(scope.holds(self.owner, self.labels) for scope in query.scopes)
        )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("query")


@pytest.fixture(scope="module")
def db(path: Path) -> Iterator[sqlite3.Connection]:
    db = open_for_writing(path / "jobs.db", False)
    yield db
    db.close()


def fill(db: sqlite3.Connection, rows: list[Row]) -> None:
    for table in ("jobs", "labels"):
        db.execute(f"DELETE FROM {table}")
    for row in rows:
        db.execute(
            "INSERT INTO jobs (id, state, live, owner, record) VALUES (?, ?, 0, ?, '{}')",
            [row.id, row.state, row.owner],
        )
        db.executemany("INSERT INTO labels VALUES (?, ?, ?)", [(*label, row.id) for label in row.labels.items()])


@given(
    jobs=st.lists(st.tuples(st.sampled_from(list(State)), st.sampled_from(OWNERS), LABELS), max_size=12),
    query=QUERIES,
    limit=st.integers(1, 13),
)
@settings(max_examples=400, deadline=None)
def test_it_is_what_a_filter_in_python_finds(
    db: sqlite3.Connection, jobs: list[tuple[State, str, dict[str, str]]], query: Query, limit: int
) -> None:
    rows = [Row(f"j{number:02d}", *job) for number, job in enumerate(jobs)]
    fill(db, rows)
    found = [job for select in query.selects(limit) for (job,) in db.execute(*select)]
    assert found == [row.id for row in reversed(rows) if row.matches(query)][:limit]


@given(query=QUERIES)
@settings(max_examples=400, deadline=None)
def test_it_is_a_walk_along_an_index(db: sqlite3.Connection, query: Query) -> None:
    """Only where no condition has an index it is one along the ids; whatever is sorted would be read whole first."""
    plan = [row[3] for text, values in query.selects(10) for row in db.execute(f"EXPLAIN QUERY PLAN {text}", values)]
    assert not any("TEMP B-TREE" in step for step in plan), plan
    narrow = (
        query.states
        or query.labels
        or query.owner
        or all(scope.owner or scope.exact_labels() for scope in query.scopes)
    )
    assert not (narrow and any(step.startswith("SCAN jobs") for step in plan)), plan


def test_very_many_scopes(db: sqlite3.Connection) -> None:
    """What an authorizer of another author returns may have any number of them."""
    fill(db, [Row("j1", State.EXITED, "ann", {"k": "a"}), Row("j2", State.EXITED, "bob", {})])
    query = Query(scopes=[Scope(f"nobody {number}", {"k": "a*"}) for number in range(2000)] + [Scope("ann")])
    assert [job for select in query.selects(10) for (job,) in db.execute(*select)] == ["j1"]
