"""The model of a terminal: what is shown after some output, however that is cut, and whatever it is."""

import random
import resource

import pytest

from jobworker.screen import styles
from jobworker.screen.parser import MAX_STRING
from jobworker.screen.picture import drawn
from jobworker.screen.terminal import Terminal

# Output, rows of a terminal of 4 rows and 10 columns without empty ones at the end, cursor (row, column).
CASES = {
    "lines": ("a\r\nb\nc", ["a", "b", " c"], (2, 2)),
    "wrap": ("0123456789ab", ["0123456789", "ab"], (1, 2)),
    "the wrap waits": ("0123456789\r\nb", ["0123456789", "b"], (1, 1)),
    "no wrap": ("\x1b[?7l0123456789ab", ["012345678b"], (0, 9)),
    "scroll": ("1\r\n2\r\n3\r\n4\r\n5", ["2", "3", "4", "5"], (3, 1)),
    "many lines": ("".join(f"{n}\r\n" for n in range(99)) + "\x1b[1K", ["96", "97", "98"], (3, 0)),
    "region": ("1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[3;1H\nx", ["1", "3", "x", "4"], (2, 1)),
    "reverse index": ("1\r\n2\x1b[H\x1bM0", ["0", "1", "2"], (0, 1)),
    "insert and delete lines": ("1\r\n2\r\n3\x1b[2H\x1b[L\x1b[1H\x1b[M", ["", "2", "3"], (0, 0)),
    "scroll by sequences": ("1\r\n2\r\n3\x1b[2S\x1b[T", ["", "3"], (2, 1)),
    "characters": ("abcdef\x1b[3G\x1b[2P\x1b[@x\x1b[X", ["abx f"], (0, 3)),
    "erase": ("abc\r\ndef\r\nghi\x1b[2;2H\x1b[1J", ["", "  f", "ghi"], (1, 1)),
    "erase below": ("abc\r\ndef\r\nghi\x1b[2;2H\x1b[J", ["abc", "d"], (1, 1)),
    "repeat": ("-\x1b[4bx", ["-----x"], (0, 6)),
    "tabs": ("\ta\x1b[Zb", ["        b"], (0, 9)),
    "line drawing": ("\x1b(0lqk\x1b(Bq\x0e\x1b)0x\x0fx", ["┌─┐q│x"], (0, 6)),
    "wide": ("漢字\b\bx", ["漢x"], (0, 3)),
    "a wide one does not fit": ("123456789漢", ["123456789", "漢"], (1, 2)),
    "half of a wide one": ("漢\rx", ["x"], (0, 1)),
    "accents": ("e\u0301e" + "\u0301" * 99, ["e\u0301e" + "\u0301" * 7], (0, 2)),
    "saved cursor": ("ab\x1b7\x1b[4;4Hx\x1b8c", ["abc", "", "", "   x"], (0, 3)),
    "alternate screen": ("ab\x1b[?1049hxyz\x1b[?1049lc", ["abc"], (0, 3)),
    "insert mode": ("bc\r\x1b[4ha\x1b[4l", ["abc"], (0, 1)),
    "origin": ("\x1b[2;3r\x1b[?6h\x1b[9;9Hx\x1b[Hy", ["", "y", "        x"], (1, 1)),
    "title": ("\x1b]2;tit\x07a\x1b]0;le\x1b\\b", ["ab"], (0, 2)),
    "strings that are skipped": ("a\x1bPq#0~~\x1b\\b\x1b_x\x07c\x1bktitle\x1b\\d", ["abcd"], (0, 4)),
    "an endless title": ("a\x1b]2;" + "x" * 3 * MAX_STRING + "\x07b", ["ab"], (0, 2)),
    "aborted": ("a\x1b[12\x1b[2Cb\x1b]0;x\x18c", ["a  bc"], (0, 5)),
    "huge numbers": ("\x1b[999999999999999999999;99999Hx\x1b[99999999Ay\x1b[99999S", [], (0, 9)),
    "reset": ("\x1b[2;3r\x1b[?6h\x1b(0a\x1bca", ["a"], (0, 1)),
    "unknown": ("a\x1b[?2026h\x1b[>4;2m\x1b[=1;1u\x1b[5n\x1b%Gb\x85\x9b", ["ab"], (0, 2)),
}


def shown(terminal: Terminal) -> tuple[list[str], tuple[int, int]]:
    rows = terminal.shown()
    while rows and not rows[-1]:
        rows.pop()
    return rows, (terminal.cursor.y, min(terminal.cursor.x, terminal.cols - 1))


@pytest.mark.parametrize("case", CASES)
def test_what_is_shown(case: str) -> None:
    """The same if every byte comes by itself."""
    output, rows, cursor = CASES[case]
    whole, cut = Terminal(4, 10), Terminal(4, 10)
    whole.feed(output.encode())
    for byte in output.encode():
        cut.feed(bytes([byte]))
    assert shown(whole) == (rows, cursor)
    assert shown(cut) == (rows, cursor)


def test_what_is_known_besides() -> None:
    """Title, alternate screen, modes; control characters in a title are left out."""
    terminal = Terminal(4, 10)
    terminal.feed(b"\x1b]2;a\xc2\x9bb\tc\x07\x1b[?1049h\x1b[?25l\x1b[?2004;1000h\x1b=")
    assert (terminal.title, terminal.main is not None, terminal.keypad) == ("abc", True, True)
    assert terminal.modes == {7, 1000, 2004}


@pytest.mark.parametrize(
    ("sequence", "again"),
    [
        ("", "\x1b[0m"),
        ("1;3;4;31;44", "\x1b[0;1;3;4;31;44m"),
        ("1;91;22;107", "\x1b[0;91;107m"),
        ("38;5;200;48;2;1;2;300", "\x1b[0;38;5;200;48;2;1;2;255m"),
        ("4:3;38:2::1:2:3", "\x1b[0;4;38;2;1;2;3m"),
        ("31;0;7", "\x1b[0;7m"),
        ("38;5", "\x1b[0m"),
        ("48;9;1", "\x1b[0m"),
        (":;4:;99999999999", "\x1b[0;4m"),
    ],
)
def test_styles(sequence: str, again: str) -> None:
    """A style is kept as one number, and can be set again."""
    assert styles.sequence(styles.changed(0, sequence)) == again


def noise(randomly: random.Random, size: int) -> bytes:
    """Return output that no program makes, with many sequences in it."""
    parts = ["\x1b", "\x1b[", "\x1b]", "\x1bP", "\x07", "\x1b\\", "\r\n", "漢", "e\u0301", "abc"]
    parts += ["\x1b[?1049h", "\x1b[?1049l", "\x1b[?", "\x1b(0", "\x1b[?6h", "\xff"]
    parts += [f"\x1b[{n};{m}" for n in (0, 1, 3, 99999) for m in ("", 2, 9)]
    made = "".join(randomly.choice([*parts, chr(randomly.randrange(32, 127))]) for _ in range(size))
    return made.encode() + bytes(randomly.randrange(256) for _ in range(size // 10))


def test_noise() -> None:
    """Nothing raises, rows and cursor stay within the size, cuts change nothing, and a drawn screen is the same."""
    randomly = random.Random(7)
    for _ in range(60):
        rows, cols = randomly.choice([(1, 1), (2, 3), (24, 80), (7, 200)])
        terminal, cut = Terminal(rows, cols), Terminal(rows, cols)
        for _ in range(3):
            data = noise(randomly, 300)
            terminal.feed(data)
            while data:
                size = randomly.randrange(1, 50)
                cut.feed(data[:size])
                data = data[size:]
            assert cut.shown() == terminal.shown()
            rows, cols = randomly.randrange(1, 30), randomly.randrange(1, 99)
            terminal.resize(rows, cols)
            cut.resize(rows, cols)
            assert all(len(row.chars) == len(row.styles) == cols for row in terminal.grid.rows)
            assert len(terminal.grid.rows) == rows
            assert 0 <= terminal.cursor.y < rows
            assert 0 <= terminal.cursor.x <= cols


def test_a_drawn_screen_is_the_same() -> None:
    """Characters, styles, cursor, modes, the region that scrolls."""
    terminal = Terminal(5, 20)
    terminal.feed(
        "\x1b[?1049h\x1b[1;31mred\x1b[44m 漢e\u0301\x1b[K\x1b[0m\r\nx\x1b[5;20H.\x1b[2;4r\x1b[3;7H".encode()
    )
    again = Terminal(5, 20)
    again.feed(drawn(terminal).encode())
    assert [row.chars for row in again.grid.rows] == [row.chars for row in terminal.grid.rows]
    assert [row.styles for row in again.grid.rows] == [row.styles for row in terminal.grid.rows]
    assert (again.cursor, again.modes, again.main is not None) == (terminal.cursor, terminal.modes, True)
    assert (again.grid.top, again.grid.bottom) == (1, 3)


def test_endless_output_takes_no_memory() -> None:
    """A title, a sequence and accents that never end."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    endless = ("\x1b]2;", "x"), ("\x1b[", "1"), ("\x1b[", ";"), ("\x1bP", "q"), ("e", "\u0301")
    for begin, more in endless:
        terminal = Terminal(24, 80)
        terminal.feed(begin.encode())
        for _ in range(40):
            terminal.feed(more.encode() * 4096)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10, "KiB"


def test_sizes() -> None:
    """A smaller one keeps the cursor on the screen, and what is above it goes first."""
    terminal = Terminal(4, 10)
    terminal.feed(b"1\r\n2\r\n3\r\n4 longer")
    terminal.resize(2, 4)
    assert shown(terminal) == (["3", "4 lo"], (1, 3))
    terminal.resize(3, 8)
    terminal.feed(b"\r\n5")
    assert shown(terminal) == (["3", "4 lo", "5"], (2, 1))
