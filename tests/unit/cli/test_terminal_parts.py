"""The pure parts of a terminal in `jw`: detach keys, modes to undo, queries to remove."""

import pytest

from jobworker_cli import keys
from jobworker_cli.declare import UsageError
from jobworker_cli.keys import DetachKeys
from jobworker_cli.output.queries import QueryFilter
from jobworker_cli.own_terminal import SHOWN_AGAIN, Modes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-],x", b"\x1dx"), ("CTRL-A", b"\x01"), ("ctrl-@", b"\x00"), ("", b"")],
)
def test_names_of_keys(text: str, expected: bytes) -> None:
    assert keys.parse(text) == expected


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-ab", "esc", ",", "ä", "ctrl-1"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="detach-keys"):
        keys.parse(text)


@pytest.mark.parametrize(
    ("typed", "passed", "detached"),
    [
        ([b"ls\r"], b"ls\r", False),
        ([b"a\x10\x11b"], b"a", True),
        ([b"a\x10", b"\x11"], b"a", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10", b"\x11"], b"\x10", True),
        ([b"\x11\x10"], b"\x11", False),
    ],
    ids=str,
)
def test_detach_keys(typed: list[bytes], passed: bytes, detached: bool) -> None:
    """The first key waits for the second, and goes to the job if another one follows."""
    found = DetachKeys(b"\x10\x11")
    results = [found.feed(data) for data in typed]
    assert b"".join(data for data, _ in results) == passed
    assert results[-1][1] is detached


def test_without_detach_keys() -> None:
    assert DetachKeys(b"").feed(b"\x10\x11") == (b"\x10\x11", False)


def test_keys_that_begin_with_themselves() -> None:
    found = DetachKeys(b"aab")
    assert found.feed(b"aaab") == (b"a", True)


@pytest.mark.parametrize(
    ("output", "undone"),
    [
        ([b"plain \x1b[31mred"], b""),
        ([b"\x1b[?1049h\x1b[?25l"], b"\x1b[?1049l\x1b[?25h" + SHOWN_AGAIN),
        ([b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"], b""),
        ([b"\x1b[?1000;10", b"06h"], b"\x1b[?1000l\x1b[?1006l" + SHOWN_AGAIN),
        ([b"\x1b", b"[", b"?", b"2004h"], b"\x1b[?2004l" + SHOWN_AGAIN),
    ],
    ids=str,
)
def test_modes_that_are_undone(output: list[bytes], undone: bytes) -> None:
    """What a job has set and not reset, also if a sequence was cut between two chunks."""
    modes = Modes()
    for data in output:
        modes.feed(data)
    assert modes.undo() == undone


QUERIES = [
    b"\x1b[c", b"\x1b[0c", b"\x1b[>c", b"\x1b[=c", b"\x1b[5n", b"\x1b[6n", b"\x1b[?6n", b"\x1b[>q", b"\x1b[?2026$p",
    b"\x1b[18t", b"\x1b[21t", b"\x1b[?u", b"\x1b]10;?\x07", b"\x1b]11;?\x1b\\", b"\x1b]4;1;?\x07", b"\x1b]52;c;?\x07",
    b"\x1bP+q544e\x1b\\", b"\x1bP$qm\x1b\\", b"\x1bZ", b"\x05",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=repr)
def test_queries_are_removed(query: bytes) -> None:
    """Whole, and cut at each place; what is around them stays."""
    text = b"a" + query + b"b\x1b[31mc\x1b]0;title\x07"
    for cut in range(len(text) + 1):
        found = QueryFilter()
        assert found.feed(text[:cut]) + found.feed(text[cut:]) + found.finish() == text.replace(query, b"")


def test_what_is_no_query_stays() -> None:
    text = b"\x1b[?1049h\x1b[2J\x1b[1;1H\x1b[38;5;1mx\x1b[m\x1b]0;a?b\x07\x1b[22;0;0t\x1b[4 q\x1b[>4;2m\x1b]8;;u\x07"
    found = QueryFilter()
    assert found.feed(text) + found.finish() == text
