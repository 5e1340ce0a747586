"""The prompt is the last line of the output without what commands a terminal."""

import pytest

from jobworker.jobs.prompt import MAX_CHARACTERS, prompt_of


@pytest.mark.parametrize(
    ("output", "prompt"),
    [
        (b"", ""),
        (b"a line\n", ""),
        (b"one\nName? ", "Name? "),
        (b"\x1b[01;32mroot@host\x1b[00m:~# ", "root@host:~# "),
        (b"\x1b]0;a title\x07$ \x1b[?2004h", "$ "),
        (b"\x1b]0;a title\x1b\\$ ", "$ "),
        (b"12%\r99%\r", "99%"),
        (b"passwords: ab\b \b", "passwords: a"),
        (b"\x00\x01\xffgr\xc3\xbc\xc3\x9fe? ", "\ufffdgrüße? "),
        (b"x" * 999, "x" * MAX_CHARACTERS),
    ],
)
def test_prompts(output: bytes, prompt: str) -> None:
    assert prompt_of(output) == prompt
