"""A terminal window of the test's own, with `jw` in it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from typing import Any

from tests.support.waiting import DEADLINE

COMMAND = [sys.executable, "-m", "jobworker_cli"]
SHELL = ["env", "-i", "PS1=ready$ ", "PATH=/usr/bin:/bin", "bash", "--norc", "--noprofile"]


class Window:
    """A terminal window with `jw` in it: what it shows is collected, and can be waited for."""

    def __init__(self, *arguments: str, rows: int = 30, cols: int = 90) -> None:
        self.master, self._slave = pty.openpty()
        self.resize(rows, cols)
        self.before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, *arguments],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=os.environ | {"TERM": "xterm"},
        )
        self.shown = b""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, rows: int, cols: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            with self._news:
                self.shown += data
                self._news.notify_all()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, pattern: str) -> None:
        """Return when the window shows something new that matches."""
        with self._news:
            found = self._news.wait_for(lambda: re.search(pattern.encode(), self.shown), DEADLINE)
            assert found, self.shown[-2000:]
            self.shown = self.shown[found.end() :]

    def end(self) -> int:
        """Return the exit code; the terminal must be as it was."""
        code = self.process.wait(DEADLINE)
        assert termios.tcgetattr(self._slave) == self.before
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._slave)
        self._reader.join(DEADLINE)
        os.close(self.master)


def shell(window: Any, *options: str, **size: int) -> Window:
    """Open a window with a shell as a job."""
    opened: Window = window("run", "-it", *options, "--", *SHELL, **size)
    opened.wait_for(r"ready\$ ")
    return opened
