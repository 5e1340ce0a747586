"""Words that are not UTF-8 are shown as bash takes them: it reads the same bytes."""

import os
import subprocess

import pytest
from tests.conftest import DEADLINE

from jobworker.words import command_line


@pytest.mark.parametrize(
    "word",
    [
        b"\xff",
        b"a b",
        b"\xffa",
        b"\xe9'\\\"$x\n\t\x01",
        b"",
        "\x85\u200b".encode() + b"\xff",
        b"caf\xc3\xa9 \xff1",
        "\u20ac".encode(),
        "\U000e0001".encode() + b"\xff",
    ],
)
def test_a_shell_reads_the_same_bytes(word: bytes) -> None:
    line = command_line([os.fsdecode(word), "end"])
    assert line.isprintable() or b"\xff" not in word
    read = subprocess.run(
        ["bash", "-c", f"printf '%s|' {line}"],
        capture_output=True,
        timeout=DEADLINE,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert read.stdout == word + b"|end|"
