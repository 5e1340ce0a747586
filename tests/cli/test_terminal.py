"""Output to a terminal: harmless text, and colours only if they are wanted."""

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def on_a_terminal(*arguments: str, **env: str) -> bytes:
    """Return what `jw` writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "jobworker_cli", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"} | env,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 65536):
            said += data
    except OSError:  # EIO: the other side is closed
        pass
    os.close(ours)
    process.wait()
    return said


def test_a_job_cannot_command_the_terminal(jw: "Jw") -> None:
    """Unless --raw allows it; output to a pipe is not changed."""
    script = r"printf '\033[32mgreen\033[0m \033[2J\n'"
    assert on_a_terminal("run", "sh", "-c", script) == b"\x1b[32mgreen\x1b[0m \\x1b[2J\r\n\x1b[0m"
    assert on_a_terminal("run", "--raw", "sh", "-c", script) == b"\x1b[32mgreen\x1b[0m \x1b[2J\r\n"
    assert jw("run", "sh", "-c", script).stdout == "\x1b[32mgreen\x1b[0m \x1b[2J\n"


def test_colours_of_ours_are_for_terminals(jw: "Jw") -> None:
    assert b"\x1b[31merror:\x1b[0m" in on_a_terminal("status", "no-such-job")
    assert b"\x1b" not in on_a_terminal("status", "no-such-job", NO_COLOR="1")
    assert b"\x1b" not in on_a_terminal("status", "no-such-job", TERM="dumb")
    assert "\x1b" not in jw("status", "no-such-job").stderr


def test_a_name_cannot_command_the_terminal(jw: "Jw") -> None:
    """The command of a job may be the text of another user."""
    jw.out("create", "--name", "evil", "echo", "\x1b[2J\n")
    for done in (jw("ps"), jw("status", "evil")):
        assert r"echo '\x1b[2J\n'" in done.stdout
        assert "\x1b" not in done.stdout
