"""`jw run -it`: our terminal is that of the job, with every key, and is afterwards as it was before."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import DEADLINE
from tests.support.window import COMMAND, shell

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def test_a_shell(window: Any) -> None:
    """Commands, their size and colours, and the exit code."""
    bash = shell(window, rows=31, cols=91)
    bash.type("stty size; echo $((6*7)); printf '\\033[31mred\\033[0m\\n'\r")
    bash.wait_for(r"31 91\r\n42\r\n\x1b\[31mred\x1b\[0m\r\n")
    bash.type("exit 3\r")
    assert bash.end() == 3


def test_keys_that_are_signals(window: Any) -> None:
    """Ctrl-C and Ctrl-Z act on what runs in the foreground of the job, and neither on `jw` nor on the shell."""
    bash = shell(window)
    bash.type("sh -c 'echo up; exec sleep 1000'\r")
    bash.wait_for("up\r\n")
    bash.type("\x03")
    bash.wait_for(r"ready\$ ")
    bash.type("sh -c 'echo up; exec sleep 1001'\r")
    bash.wait_for("up\r\n")
    bash.type("\x1a")
    bash.wait_for("Stopped")
    bash.type("kill %1; exit\r")
    bash.wait_for("exit")
    bash.type("exit 4\r")
    assert bash.end() in (0, 4)


def test_the_end_of_file_key(window: Any) -> None:
    bash = shell(window)
    bash.type("\x04")
    assert bash.end() == 0


def test_resize(window: Any) -> None:
    """A change of the size of our window is one of the job's terminal."""
    bash = shell(window)
    bash.type("trap 'stty size' WINCH\r")
    bash.wait_for(r"ready\$ ")
    bash.resize(50, 132)
    bash.wait_for("50 132\r\n")
    bash.type("exit\r")
    bash.end()


def test_detach(window: Any, jw: "Jw") -> None:
    """Ctrl-P Ctrl-Q leave the job running; Ctrl-P alone reaches it."""
    bash = shell(window, "--name", "left-behind")
    bash.type("echo a-line\r")
    bash.wait_for("a-line\r\nready")
    bash.type("\x10")
    bash.type("\r")
    bash.wait_for("a-line\r\nready")
    bash.type("\x10\x11")
    bash.wait_for("is left running")
    assert bash.end() == 130
    assert jw.job("left-behind")["state"] == "running"
    jw.kill("left-behind")


def test_other_keys_to_detach(window: Any, jw: "Jw") -> None:
    bash = shell(window, "--name", "left-otherwise", "--detach-keys", "ctrl-x")
    bash.type("\x18")
    assert bash.end() == 130
    jw.kill("left-otherwise")


def test_a_signal_from_outside(window: Any, jw: "Jw") -> None:
    """SIGTERM to `jw` restores the terminal and leaves the job."""
    bash = shell(window, "--name", "terminated")
    bash.process.send_signal(signal.SIGTERM)
    assert bash.end() == 130
    assert jw.job("terminated")["state"] == "running"
    jw.kill("terminated")


def test_the_screen_of_a_killed_job(window: Any, jw: "Jw") -> None:
    """What a job has changed of our terminal is undone if it had no time for that."""
    script = "printf '\\033[?1049h\\033[?25l\\033[?2004hfull'; sleep 1000"
    full = window("run", "-it", "--name", "full-screen", "--", "sh", "-c", script)
    full.wait_for("full")
    jw.kill("full-screen")
    full.end()
    full.wait_for(r"\x1b\[\?1049l\x1b\[\?2004l\x1b\[\?25h")


def test_the_agent_dies(window: Any, jw: "Jw") -> None:
    """The connection is replaced: the job goes on where it was, and so does typing, each key once."""
    bash = shell(window)
    bash.type("n=0; step() { n=$((n+1)); echo n=$n; }\r")
    bash.wait_for(r"ready\$ ")
    os.kill(jw.call("agent.info")["pid"], signal.SIGKILL)
    bash.type("step\r")
    bash.wait_for("n=1\r\n")
    bash.type("step; exit 6\r")
    bash.wait_for("n=2\r\n")
    assert bash.end() == 6


def test_a_program_is_missing(window: Any) -> None:
    """An error is reported on a terminal that is as it was."""
    missing = window("run", "-it", "/no/such/program")
    missing.wait_for("cannot execute")
    assert missing.end() == 127


def test_only_to_look_at(window: Any) -> None:
    """-t without -i: the job has a terminal of our size, and Ctrl-C stops it as usual."""
    job = window("run", "-t", "--", "sh", "-c", "stty size; sleep 1000", rows=22, cols=44)
    job.wait_for("22 44\r+\n")
    job.type("\x03")
    job.wait_for("stopping the job")
    job.end()


@pytest.mark.parametrize(
    ("options", "what"), [(["-it"], "input or output"), (["-t"], "output"), (["-t", "--json"], "json")]
)
def test_no_terminal_here(jw: "Jw", options: list[str], what: str) -> None:
    """-t is refused, with what to do."""
    done = jw("run", *options, "--", "true")
    assert done.returncode == 2
    assert what in done.stderr
    assert "-tt" in done.stderr


def test_a_terminal_all_the_same(jw: "Jw") -> None:
    """-tt gives the job one; what comes through a pipe is typed into it, and its end is the end-of-file key."""
    assert jw("run", "-tt", "--", "tty").stdout.startswith("/dev/pts/")
    done = subprocess.run(
        [*COMMAND, "run", "-itt", "--", "sh", "-c", "stty -echo; cat; echo over"],
        input=b"typed\n",
        capture_output=True,
        timeout=DEADLINE,
        check=True,
    )
    assert done.stdout in (b"typed\r\nover\r\n", b"typed\r\ntyped\r\nover\r\n")  # typed before `stty` or after it


def test_created_without_a_terminal_here(jw: "Jw") -> None:
    """A detached job may have one anyway."""
    job = jw.out("run", "-d", "-t", "--", "sh", "-c", "stty size")
    assert jw("wait", job).returncode == 0
    assert jw.out("logs", job) == "24 80"


def test_vim(window: Any, tmp_path: Path) -> None:
    """A full-screen editor: its text is in the file, and the screen is back afterwards."""
    if shutil.which("vim") is None:
        pytest.skip("vim is not installed")
    file = tmp_path / "text"
    vim = window("run", "-it", "--", "vim", "-u", "NONE", "-i", "NONE", str(file))
    vim.wait_for(r"\x1b\[\?1049h")
    vim.type("ihello\x1b")
    vim.type("yy3p:wq\r")
    assert vim.end() == 0
    assert file.read_text() == "hello\n" * 4
    assert b"\x1b[?1049l" in vim.shown


def test_less_and_top(window: Any, tmp_path: Path) -> None:
    """A pager scrolls in a window of our size; top draws and quits."""
    if shutil.which("less") is None or shutil.which("top") is None:
        pytest.skip("less or top is not installed")
    text = tmp_path / "lines"
    text.write_text("".join(f"line {number}\n" for number in range(500)))
    less = window("run", "-it", "-e", "LESS=", "--", "less", str(text), rows=11)
    less.wait_for("line 9\r\n")
    less.type("G")
    less.wait_for("line 499")
    less.type("q")
    assert less.end() == 0
    top = window("run", "-it", "--", "top", "-d", "60")
    top.wait_for("PID")
    top.type("q")
    assert top.end() == 0
