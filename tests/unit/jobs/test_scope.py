"""Which jobs a principal may see, in Python; `test_query` has the same in SQL."""

import pytest

from jobworker.jobs.scope import Scope


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [("a*", "abc", True), ("a?c", "abc", True), ("a", "ab", False), ("[ab]", "a", False), ("[ab]", "[ab]", True)],
)
def test_patterns(pattern: str, text: str, matches: bool) -> None:
    """`*` and `?` and nothing else."""
    assert Scope("o", {"k": pattern}).holds("o", {"k": text}) is matches
