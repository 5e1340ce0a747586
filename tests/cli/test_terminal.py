"""Output to a terminal: harmless text, and colours only if they are wanted."""

import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


COMMAND = [sys.executable, "-m", "jobworker_cli"]


def on_a_terminal(*arguments: str, **env: str) -> bytes:
    """Return what `jw` writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
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


HIDES = "\x9b2J\x7f\u202e\u2066\u200f\u2028\u2029\u061c"


def test_json_on_a_terminal(jw: "Jw") -> None:
    """No character of a job's command or output commands it; a program reads the same values."""
    job = jw.out("run", "-d", "--name", "hides", "--", "printf", "%s", HIDES)
    assert jw("wait", job).returncode == 0
    for arguments in (["status", "--json", job], ["logs", "--json", job], ["rpc", "job.status", f"id={job}"]):
        for said in (on_a_terminal(*arguments).decode(), jw.out(*arguments)):
            assert not set(HIDES) - set("2J") & set(said), said
    assert json.loads(jw.out("status", "--json", job))["spec"]["argv"][2] == HIDES
    assert json.loads(jw.out("logs", "--json", job).splitlines()[0])["data"] == HIDES


def test_the_log_of_a_job_that_turns_text_around(jw: "Jw") -> None:
    """Bidi controls and the line ends of Unicode are shown; a pipe, and --raw, get what the job wrote."""
    command = ["run", "printf", "%s", "\u202egnp.exe\u2028jw: error: \u2069\u200f"]
    shown = rb"\u202egnp.exe\u2028jw: error: \u2069\u200f"
    assert on_a_terminal(*command) == shown
    assert jw(*command).stdout == command[-1]
    assert on_a_terminal("run", "--raw", *command[1:]).decode() == command[-1]


def test_a_name_cannot_command_the_terminal(jw: "Jw") -> None:
    """The command of a job may be the text of another user."""
    jw.out("create", "--name", "evil", "echo", "\x1b[2J\n")
    for done in (jw("ps"), jw("status", "evil")):
        assert r"echo '\x1b[2J\n'" in done.stdout
        assert "\x1b" not in done.stdout


def test_a_progress_bar_cannot_overwrite_the_prefix_of_its_line(jw: "Jw") -> None:
    """After a bare CR the prefix is written again: the bar moves behind it. CRLF ends a line, as LF does."""
    script = (
        r"printf '10%%\r20%%\rplain | forged\nwindows\r\n\rtwice\r\r\n'; printf 'late\r'; sleep 0.3; printf 'r\n\n'"
    )
    assert jw("run", "--name", "bar", "--", "sh", "-c", script).returncode == 0
    assert jw("run", "--name", "plain", "--", "true").returncode == 0
    bar = b"bar   | "
    lines = [b"10%\r" + bar + b"20%\r" + bar + b"plain | forged\n", b"windows\r\n", b"\r" + bar + b"twice\r\r\n"]
    lines += [b"late\r" + bar + b"r\n", b"\n"]
    expected = b"".join(bar + line for line in lines)
    for options in ([], ["-f"]):
        done = subprocess.run([*COMMAND, "logs", *options, "bar", "plain"], capture_output=True, check=False)
        assert done.stdout == expected
    alone = subprocess.run([*COMMAND, "logs", "bar"], capture_output=True, check=False).stdout
    assert alone == expected.replace(bar, b""), "one job alone may draw as it likes"
    times = subprocess.run([*COMMAND, "logs", "-t", "bar"], capture_output=True, check=False).stdout
    marked = re.sub(rb"\d{4}-\d\d-\d\dT[0-9:.]+Z ", b"bar   | ", times)
    assert marked == expected, "nor can the time of a line be overwritten"


def test_the_colours_of_a_job_end_before_the_next_prefix(jw: "Jw") -> None:
    """A job that hides what follows hides no prefix."""
    for name in ("hider", "other"):
        assert jw("run", "--name", name, "--", "printf", r"\033[8mhidden\nmore\n").returncode == 0
    said = on_a_terminal("logs", "hider", "other")
    assert said.count(b"\x1b[0mhider | ") == said.count(b"\x1b[0mother | ") == 2, said
