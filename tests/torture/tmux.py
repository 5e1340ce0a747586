"""tmux as the judge of screens: what a pane of it shows after the same output."""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# In the pane: write the output, and wait for the answer to a query behind it; then tmux has taken all of it.
FEEDER = """
import os, sys, tty
tty.setraw(0)
os.write(1, open(sys.argv[1], "rb").read() + b"\\x1b[5n")
answer = b""
while not answer.endswith(b"\\x1b[0n"):
    answer += os.read(0, 1)
open(sys.argv[2], "wb").close()
os.read(0, 1)
"""


LETTERS, LINES = "`abcdefghijklmnopqrstuvwxyz{|}~", "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·"
STYLE, DRAWN = re.compile(r"\x1b\[[\d;:]*m"), re.compile(r"\x0e([^\x0f]*)\x0f?")


def with_lines(text: str) -> str:
    """Return what was captured with attributes without them, and lines where it has the letters for them."""
    return DRAWN.sub(lambda found: found[1].translate(str.maketrans(LETTERS, LINES)), STYLE.sub("", text))


@dataclass(frozen=True)
class Shown:
    """What a pane shows: rows, without spaces at their ends, cursor (row, column), alternate screen or not."""

    text: list[str]
    cursor: tuple[int, int]
    alternate: bool


class Tmux:
    """A server of our own, for the time of a `with`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="jobworker-tmux-")
        self._base = Path(self._folder.name)

    def __enter__(self) -> "Tmux":
        self._run(
            "new-session", "-d", "-s", "keeps-the-server", "sleep", "infinity", ";", "set", "-g", "status", "off"
        )
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run([*self._command(), "kill-server"], stderr=subprocess.DEVNULL, check=False)
        self._folder.cleanup()

    def _command(self) -> list[str]:
        return ["tmux", "-u", "-S", str(self._base / "socket"), "-f", "/dev/null"]

    def _run(self, *arguments: str) -> str:
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        done = subprocess.run([*self._command(), *arguments], env=env, capture_output=True, text=True, check=True)
        return done.stdout

    def show(self, output: bytes, rows: int, cols: int) -> Shown:
        """Return what a new pane of this size shows after the output."""
        source, done = self._base / "output", self._base / "done"
        source.write_bytes(output)
        os.mkfifo(done)
        size = ["-x", str(cols), "-y", str(rows)]
        feeder = [sys.executable, "-I", "-S", "-c", FEEDER, str(source), str(done)]
        self._run("new-session", "-d", "-s", "judge", *size, *feeder)
        try:
            with open(done, "rb") as pipe:
                pipe.read()
            text = with_lines(self._run("capture-pane", "-p", "-e", "-t", "judge")).split("\n")[:-1]
            form = "#{cursor_y} #{cursor_x} #{alternate_on}"
            y, x, alternate = map(int, self._run("display-message", "-p", "-t", "judge", form).split())
            return Shown([row.rstrip() for row in text], (y, min(x, cols - 1)), bool(alternate))
        finally:
            self._run("kill-session", "-t", "judge")
            done.unlink()
