"""Which jobs a principal may see, in Python as in SQL."""

import pytest

from jobworker.jobs.scope import Scope


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [("a*", "abc", True), ("a?c", "abc", True), ("a", "ab", False), ("[ab]", "a", False), ("[ab]", "[ab]", True)],
)
def test_patterns(pattern: str, text: str, matches: bool) -> None:
    """`*` and `?` and nothing else, in Python as in SQL."""
    import sqlite3

    scope = Scope("o", {"k": pattern})
    assert scope.holds("o", {"k": text}) is matches
    condition, values = scope.condition()
    table = sqlite3.connect(":memory:")
    table.execute("CREATE TABLE jobs (owner, record)")
    table.execute(
        "INSERT INTO jobs VALUES ('o', json_object('job', json_object('labels', json_object('k', ?))))", [text]
    )
    count = table.execute(f"SELECT count(*) FROM jobs WHERE {condition}", values).fetchone()[0]
    table.close()
    assert bool(count) is matches
