"""Notice a terminal that a `jw` left in raw mode because it was killed, and name the command that mends it."""

import os

from jobworker_cli import output

STDERR = 2
HINT = "this terminal is in raw mode, as a killed `jw` leaves it: type stty sane, then Ctrl-J"


def hint() -> None:
    """Name the command, with the line ends that such a terminal needs."""
    if is_left_raw():
        output.write_stderr(f"\r{output.hint_text(HINT)}\r")


def is_left_raw() -> bool:
    """Whether the terminal of our messages is raw although we, in its foreground, have not made it so."""
    if not os.isatty(STDERR):
        return False
    import termios  # not for the many calls without a terminal

    try:
        _, output, _, local, *_ = termios.tcgetattr(STDERR)
        # All that raw mode turns off: a program that reads a password turns off the echo alone.
        off = termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN
        return not (local & off or output & termios.OPOST) and os.tcgetpgrp(STDERR) == os.getpgrp()
    except (termios.error, OSError):  # it is not our controlling terminal, or is gone
        return False
