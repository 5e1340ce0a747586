"""What is shown of bytes that a terminal would obey."""

import pytest

from jobworker_cli.output.sanitise import Sanitiser, printable


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"plain \xc3\xa9\t\r\n", b"plain \xc3\xa9\t\r\n"),
        (b"\x1b[31mred\x1b[0m", b"\x1b[31mred\x1b[0m\x1b[0m"),
        (b"\x1b[38;2;1;2;3m\x1b[38:5:9m", b"\x1b[38;2;1;2;3m\x1b[38:5:9m\x1b[0m"),
        (b"\x1b[2J", rb"\x1b[2J"),
        (b"\x1b[1;1H", rb"\x1b[1;1H"),
        (b"\x1b]0;title\x07", rb"\x1b]0;title\x07"),
        (b"\x1b]52;c;eA==\x1b\\", rb"\x1b]52;c;eA==\x1b\ ".rstrip()),
        (b"\x1b[31\x1b[mm", b"\\x1b[31\x1b[mm\x1b[0m"),
        (b"\x1b[?25l\x1b[>4;1m", rb"\x1b[?25l\x1b[>4;1m"),
        (b"\x08\x0b\x0c\x00\x7f", rb"\x08\x0b\x0c\x00\x7f"),
        (b"\xc2\x9b2J", rb"\x9b2J"),
        (b"\x9b2J\xff", rb"\x9b2J\xff"),
        (b"\x1b", rb"\x1b"),
        (b"\x1b[3", rb"\x1b[3"),
        (b"\xc3", rb"\xc3"),
        (b"\x1b[" + b"1;" * 99 + b"m", b"\\x1b[" + b"1;" * 99 + b"m"),
    ],
)
def test_colours_pass_and_the_rest_is_shown(said: bytes, shown: bytes) -> None:
    """However the bytes are cut into pieces."""
    whole = Sanitiser()
    assert whole.feed(said) + whole.finish() == shown
    bytewise = Sanitiser()
    assert b"".join(bytewise.feed(bytes([byte])) for byte in said) + bytewise.finish() == shown


def test_a_line_of_ours_holds_nothing_that_is_obeyed() -> None:
    assert printable("a\nb\x1b[31m\u202e\x9b é") == r"a\nb\x1b[31m\u202e\x9b é"
