"""Search a log and number its lines, against what Python finds in the whole text."""

import itertools
import os
import random
import re
import time
from pathlib import Path

import pytest
from tests.support.log_writer import Writer

from jobworker.logs import search
from jobworker.logs.line_index import LineIndex
from jobworker.logs.lines import Lines
from jobworker.logs.patterns import BadPatternError, compiled
from jobworker.logs.reader import Chunk, LogReader
from jobworker.logs.search import Match, Query, Search

WINDOW = 64  # for these tests, so that a log of some kB has many


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "WINDOW_BYTES", WINDOW)
    monkeypatch.setattr(search, "OVERLAP_BYTES", 16)
    monkeypatch.setattr("jobworker.logs.line_index.BLOCK_BYTES", 32)
    monkeypatch.setattr("jobworker.logs.lines.STEP_BYTES", 50)


def found(
    reader: LogReader, pattern: str, *, regex: bool = True, case: bool = True, limit: int = 7, **options: object
) -> list[Match]:
    """Return all matches, of as many searches as it takes."""
    matches: list[Match] = []
    index, start = LineIndex(), 0
    streams = options.get("streams", (0, 1))
    assert isinstance(streams, tuple)
    while True:
        query = Query(compiled(pattern, regex=regex, case=case), start, limit, streams, 40, bool(options.get("once")))
        one = Search(reader, index, query, growing=False)
        while not one.run(time.monotonic() + 60, 1 << 20):
            pass
        matches += one.matches
        assert one.count == len(one.matches)
        if one.complete:
            return matches
        assert one.next > start
        start = one.next


def expected(writer: Writer, pattern: bytes, streams: tuple[int, ...] = (0, 1)) -> list[tuple[int, int, int, int]]:
    """Return offset, stream, length and line of each match, found by Python's own expressions."""
    result = []
    for stream in streams:
        offsets = [offset for offset, (of, _) in enumerate(writer.merged) if of == stream]
        text = bytes(max(0, byte) for of, byte in writer.merged if of == stream)
        for match in re.finditer(pattern, text, re.MULTILINE):
            offset = offsets[match.start()]
            line = 1 + sum(byte == 10 for _, byte in writer.merged[:offset])
            result.append((offset, stream, match.end() - match.start(), line))
    return sorted(result)


def random_log(writer: Writer, seed: int, longest: int) -> None:
    chance = random.Random(seed)
    for _ in range(chance.randrange(1, 300)):
        text = b"".join(
            chance.choice((b"ab", b"err", b"x", b"\n", b"aa", b" ")) for _ in range(chance.randrange(1, 9))
        )
        writer.arrive(chance.randrange(2), text)
        if chance.random() * longest < 1:
            writer.arrive(chance.randrange(2), b"\n")


@pytest.mark.parametrize("seed", range(3))
def test_each_match_once(writer: Writer, reader: LogReader, seed: int) -> None:
    """Whatever the limit: each begins where it does in the stream as a whole, with the number of its line."""
    random_log(writer, seed, 4)
    for pattern in ("a+", "err", "^x", "b$", "a[^x]*x", r"\bab"):
        python = pattern.encode().replace(b"[^x]", rb"[^x\n]")
        for streams, limit in (((0, 1), 7), ((0, 1), 10_000), ((0,), 50), ((1,), 3)):
            matches = found(reader, pattern, limit=limit, streams=streams)
            facts = [(match.offset, match.stream, match.length, match.line) for match in matches]
            assert facts == expected(writer, python, streams)


def test_matches_that_are_only_counted(writer: Writer, reader: LogReader) -> None:
    """As many as are found, wherever the search begins and whenever it is interrupted."""
    random_log(writer, 5, 4)
    for _ in range(70):  # a line longer than many windows, of which each ends within another text
        writer.arrive(0, b"aaaa err aab ")
    writer.arrive(0, b"\naa\0aa\n")
    for pattern, streams in itertools.product(("a", "aa", "aaa", "err", "b a"), ((0, 1), (0,), (1,))):
        offsets = [match.offset for match in found(reader, pattern, regex=False, limit=10_000, streams=streams)]
        for begin in (0, offsets[len(offsets) // 3] if offsets else 0):
            count, start = 0, begin
            for calls in itertools.count():
                query = Query(compiled(pattern, regex=False, case=True), start, 0, streams, 40, once=False)
                one = Search(reader, LineIndex(), query, growing=False)
                for _ in range(calls % 5 + 1):
                    one.run(time.monotonic() + 0.0002, 1 << 20)
                count, start = count + one.count, one.next
                if one.complete:
                    break
            assert count == sum(offset >= begin for offset in offsets), (pattern, streams, begin)


def test_lines_longer_than_a_window(writer: Writer, reader: LogReader) -> None:
    """A text is found wherever it is cut into parts."""
    chance = random.Random(1)
    for _ in range(60):
        writer.arrive(chance.randrange(2), bytes(chance.choices(b"abc", k=chance.randrange(1, 40))))
    for pattern in ("abc", "c"):
        matches = found(reader, pattern, limit=5)
        assert [(m.offset, m.stream, m.length, m.line) for m in matches] == expected(writer, pattern.encode())
        assert all(m.cut and m.excerpt[m.at : m.at + m.length] == pattern.encode() for m in matches)
    assert found(reader, "bca?b", limit=2) == found(reader, "bca?b", limit=1000)


def test_excerpts(writer: Writer, reader: LogReader) -> None:
    """The whole line if it is short, else what is around the match, and no half of a character."""
    writer.arrive(0, "one err\nÄÄÄÄÄÄÄÄÄÄ err ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ\nerr".encode())
    first, second, last = found(reader, "err")
    assert (first.excerpt, first.at, first.cut) == (b"one err", 4, False)
    assert second.excerpt.startswith("Ä".encode())
    assert second.excerpt[second.at :].startswith(b"err ")
    assert (len(second.excerpt) in (39, 40), second.cut) == (True, True)
    assert (last.excerpt, last.line, last.cut) == (b"err", 3, False)


def test_once_a_line(writer: Writer, reader: LogReader) -> None:
    writer.arrive(0, b"err err\nnone\nerr\n")
    writer.arrive(1, b"err, err")
    for limit in (1, 9):
        assert [m.offset for m in found(reader, "err", once=True, limit=limit)] == [0, 13, 17]


def test_in_any_case(writer: Writer, reader: LogReader) -> None:
    writer.arrive(0, "Error ERROR Ärger äRGER\n".encode())
    assert len(found(reader, "error", regex=False, case=False)) == 2
    assert len(found(reader, "ärger", regex=False, case=False)) == 2
    assert len(found(reader, "ärger", regex=False)) == 0
    assert len(found(reader, "[eä]rr?", case=False)) == 6


def test_bytes_that_the_log_does_not_hold(writer: Writer, reader: LogReader) -> None:
    """They match nothing, and are no part of a match; zeros that the job has written are."""
    writer.arrive(0, b"ab\0c")
    writer.lose(0, 300)
    writer.arrive(1, b"\0")
    writer.arrive(0, b"de\n")
    writer.lose(1, 10_000, 2)
    assert [(m.offset, m.length) for m in found(reader, "\0", regex=False)] == [(2, 1), (304, 1)]
    assert [(m.offset, m.length) for m in found(reader, "b.*")] == [(1, 3)]
    assert [(m.offset, m.length) for m in found(reader, "[^b]*e")] == [(305, 2)]


def test_a_hole_is_passed_at_once(writer: Writer, reader: LogReader) -> None:
    writer.arrive(0, b"err")
    writer.lose(0, 1)
    writer._record(0, 1 << 26, 2)
    os.truncate(writer.folder / "out", writer.positions[0])
    writer.arrive(0, b" err\n")
    assert [m.offset for m in found(reader, "err")] == [0, (1 << 26) + 5]


def test_a_log_without_its_head(writer: Writer, reader: LogReader) -> None:
    """What was dropped is not found; lines are numbered from what was kept, or as before if they were counted."""
    for number in range(40):
        writer.arrive(number % 2, b"err %d\n" % number)
    query = Query(compiled("err", regex=False, case=True), 0, 100, (0, 1), 40, once=False)
    index = LineIndex()
    whole = Search(reader, index, query, growing=False)
    assert whole.run(time.monotonic() + 60, 1 << 20)
    start = writer.drop(20, "index", "out", "err")
    for counts, base, line in ((index, 0, 21), (LineIndex(), start, 1)):
        late = Search(reader, counts, query, growing=False)
        assert late.run(time.monotonic() + 60, 1 << 20)
        assert (late.count, late.matches[0].offset, late.matches[0].line, counts.base) == (20, start, line, base)


def test_a_line_that_is_still_written(writer: Writer, reader: LogReader) -> None:
    """The next search begins at its start, so that a match is found which was half there."""
    writer.arrive(0, b"one err\nan er")
    query = Query(compiled("err", regex=False, case=True), 0, 100, (0, 1), 40, once=False)
    first = Search(reader, LineIndex(), query, growing=True)
    assert first.run(time.monotonic() + 60, 1 << 20)
    assert (first.count, first.complete, first.next) == (1, True, 8)
    writer.arrive(1, b"x")
    writer.arrive(0, b"r\n")
    query = Query(query.pattern, first.next, 100, (0, 1), 40, once=False)
    second = Search(reader, LineIndex(), query, growing=True)
    assert second.run(time.monotonic() + 60, 1 << 20)
    assert [match.offset for match in second.matches] == [11]


@pytest.mark.parametrize(
    ("pattern", "regex", "expected"),
    [
        ("", False, "1 to 1024"),
        ("x" * 1025, False, "1 to 1024"),
        ("a\nb", False, "within one line"),
        ("(", True, r"missing \): \(; expected .* syntax of RE2"),
        (r"(a)\1", True, "syntax of RE2"),
        ("(?=a)", True, "syntax of RE2"),
        ("a*", True, "the empty text"),
        ("(a{1,30}){1,30}", True, "fewer repetitions"),
        ("\ud800", True, "syntax of RE2"),
    ],
)
def test_what_is_no_pattern(pattern: str, regex: bool, expected: str) -> None:
    with pytest.raises(BadPatternError, match=expected):
        compiled(pattern, regex=regex, case=True)


def test_an_expression_that_others_take_for_ever_to_match(writer: Writer, reader: LogReader) -> None:
    writer.arrive(0, b"a" * 5000 + b"\n")
    assert found(reader, "(a+)+(a+)+$b") == []


@pytest.mark.parametrize("seed", range(3))
def test_lines(writer: Writer, reader: LogReader, seed: int) -> None:
    """Each line by its number, and around each offset, also with little time for a call."""
    random_log(writer, seed, 2)
    whole = bytes(byte for _, byte in writer.merged)
    begins = [0, *(at + 1 for at in range(len(whole)) if whole[at] == 10)]
    if begins[-1] == len(whole):
        del begins[-1]
    index = LineIndex()
    for line in (1, 2, len(begins) // 2, len(begins) - 1, len(begins), len(begins) + 1):
        calls = [line_call(reader, index, line=line), line_call(reader, LineIndex(), line=line)]
        for one in calls:
            assert [each.offset for each in one.lines] == begins[max(line, 1) - 1 :][:3]
            assert [each.number for each in one.lines] == list(range(max(line, 1), len(begins) + 1))[:3]
            for each in one.lines:
                text = b"".join(part.data for part in each.parts if isinstance(part, Chunk))
                assert text == whole[each.offset : each.end]
    for around in range(0, len(whole) + 1, 7):
        one = line_call(reader, index, around=around)
        assert one.lines[0].offset <= around
        assert one.lines[min(1, len(one.lines) - 1)].end >= around or one.lines[-1].end == len(whole)
    assert line_call(reader, index, around=len(whole)).total == len(begins)


def line_call(reader: LogReader, index: LineIndex, line: int | None = None, around: int = 0) -> Lines:
    one = Lines(reader, index, line, around, 3)
    while not one.run(time.monotonic(), 1 << 20):
        index.extend(reader, [1 << 40, 1 << 40], one._ends)  # one block each call
    return one


def test_a_long_line_is_cut(writer: Writer, reader: LogReader) -> None:
    writer.arrive(0, b"x" * 200_000)
    writer.arrive(1, b"y\n")
    writer.arrive(0, b"end")
    first, last = line_call(reader, LineIndex(), line=1).lines
    assert (first.end, first.cut, first.size) == (200_002, True, 16384)
    assert (last.number, last.offset, last.end, last.cut) == (2, 200_002, 200_005, False)


def test_an_empty_log(tmp_path: Path) -> None:
    reader = LogReader(tmp_path / "none")
    assert found(reader, "x") == []
    one = line_call(reader, LineIndex(), line=1)
    assert (one.lines, one.total) == ([], 0)
