"""A terminal that a killed `jw` left raw: the next `jw` names the command that mends it, in one line."""

import fcntl
import os
import pty
import subprocess
import sys
import termios
import tty
from collections.abc import Callable

import pytest

COMMAND = [sys.executable, "-m", "jobworker_cli"]


def without_echo(terminal: int) -> None:
    """Do as a program that reads a password."""
    modes = termios.tcgetattr(terminal)
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, modes)


@pytest.mark.parametrize(
    ("prepare", "words", "hinted"),
    [
        (tty.setraw, ["--version"], True),
        (tty.setraw, ["__complete", "bash", "jw", ""], False),
        (tty.setcbreak, ["--version"], False),
        (without_echo, ["--version"], False),
        (lambda _: None, ["--version"], False),
    ],
    ids=["raw", "a-shell-that-completes", "cbreak", "no-echo", "usual"],
)
def test_the_hint(prepare: Callable[[int], object], words: list[str], hinted: bool) -> None:
    """Only for raw mode, with the line ends that it needs; and not where a shell that completes has made it raw."""
    ours, theirs = pty.openpty()
    prepare(theirs)
    process = subprocess.Popen(
        [*COMMAND, *words],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # as a login does it
    )
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 65536):
            said += data
    except OSError:  # EIO: the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    assert (b"stty sane" in said, said.count(b"\r\n")) == (hinted, int(hinted))
