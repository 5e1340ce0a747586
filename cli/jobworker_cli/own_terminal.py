"""The terminal that `jw` runs on: its size, raw mode, and its state as it was before."""

import os
import re
import sys
import termios
import tty

from jobworker_cli.output import write

STDIN, STDOUT = 0, 1
MODE = re.compile(rb"\x1b\[\?([\d;]+)([hl])")  # DECSET and DECRST: set or reset modes of the terminal
PARTIAL = re.compile(rb"\x1b(\[(\?[\d;]{0,32})?)?\Z")  # the begin of one at the end of a chunk
# What is on in a terminal as it should be left: the cursor (25) and line wrap (7); all else that programs set is off.
USUAL = {b"7", b"25"}
SHOWN_AGAIN = b"\x1b[0m\x1b(B\x0f"  # no colours, and letters in place of line drawing


class Modes:
    """The modes that the output of a job has changed and not changed back."""

    def __init__(self) -> None:
        self._changed: set[bytes] = set()
        self._before = b""  # the begin of a sequence that the next output may complete

    def feed(self, data: bytes) -> None:
        data = self._before + data
        for numbers, which in MODE.findall(data):
            for number in numbers.split(b";"):
                if (which == b"h") != (number in USUAL):
                    self._changed.add(number)
                else:
                    self._changed.discard(number)
        found = PARTIAL.search(data)
        self._before = found[0] if found else b""

    def undo(self) -> bytes:
        """Return what sets a terminal back: also if the job was killed in the middle of a full screen."""
        changed = b"".join(
            b"\x1b[?%s%s" % (number, b"h" if number in USUAL else b"l") for number in sorted(self._changed)
        )
        return changed + SHOWN_AGAIN if changed else b""


class OwnTerminal:
    """Raw mode from `enter` to `leave`, which may be called more than once."""

    def __init__(self) -> None:
        self.modes = Modes()
        self._before: list[object] | None = None  # the settings of the terminal; None: they are as they were

    def enter(self) -> None:
        """Have every key reach the job, those that make signals included."""
        self._before = termios.tcgetattr(STDIN)
        tty.setraw(STDIN, termios.TCSANOW)
        write.line_end = b"\r\n"  # of our notes: the terminal does not return to the first column by itself

    def leave(self) -> None:
        """Set the terminal back to what it was."""
        if self._before is None:
            return
        before, self._before = self._before, None
        write.line_end = b"\n"
        try:
            write.put(sys.stdout, self.modes.undo())
        except (write.ReaderGone, OSError):
            pass  # it is gone: there is nothing to set back
        try:
            termios.tcsetattr(STDIN, termios.TCSANOW, before)  # type: ignore[arg-type]
        except (termios.error, OSError):
            pass


def is_here(*, reads: bool) -> bool:
    """Whether our output, and with `reads` our input too, is a terminal."""
    return os.isatty(STDOUT) and (not reads or os.isatty(STDIN))


def size() -> tuple[int, int]:
    """Return rows and columns of our terminal; those of a usual one if it has none."""
    try:
        rows, cols = os.get_terminal_size(STDOUT)[::-1]
    except OSError:
        rows = cols = 0
    return rows or 24, cols or 80
