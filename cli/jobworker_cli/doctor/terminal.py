"""Set a terminal back that a program has left raw, as `stty sane` does, with what a full screen has left on."""

import os
import signal
import termios
from collections.abc import Sequence
from typing import Any

from jobworker.errors import JobworkerError
from jobworker_cli.own_terminal import SHOWN_AGAIN

# What stty(1) calls sane: what is on, and what is off, of input, output, control and local modes.
ON = (
    termios.BRKINT | termios.ICRNL | termios.IMAXBEL,
    termios.OPOST | termios.ONLCR,
    termios.CREAD,
    termios.ISIG
    | termios.ICANON
    | termios.IEXTEN
    | termios.ECHO
    | termios.ECHOE
    | termios.ECHOK
    | termios.ECHOCTL
    | termios.ECHOKE,
)
OFF = (
    termios.IGNBRK | termios.INLCR | termios.IGNCR | termios.IXOFF | termios.IXANY,
    termios.OCRNL | termios.ONOCR | termios.ONLRET | termios.OFILL,
    0,
    termios.ECHONL | termios.NOFLSH | termios.TOSTOP | termios.ECHOPRT,
)
KEYS = {
    termios.VINTR: b"\x03",
    termios.VQUIT: b"\x1c",
    termios.VERASE: b"\x7f",
    termios.VKILL: b"\x15",
    termios.VEOF: b"\x04",
    termios.VEOL: b"\x00",
    termios.VSTART: b"\x11",
    termios.VSTOP: b"\x13",
    termios.VSUSP: b"\x1a",
}
# Letters and arrows as usual, no mouse, no bracketed paste, the first screen, a cursor, lines that wrap.
MODES_OFF = (1, 1000, 1002, 1003, 1006, 2004, 1047)
SCREEN = b"\x1b>" + b"".join(b"\x1b[?%dl" % mode for mode in MODES_OFF) + b"\x1b[?7h\x1b[?25h" + SHOWN_AGAIN


def restore() -> bool:
    """Set our terminal back; return whether its settings were others. Raises JobworkerError if there is none."""
    fd = _terminal()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # as a job in the background, too
    before = termios.tcgetattr(fd)
    after = sane(before)
    termios.tcsetattr(fd, termios.TCSANOW, after)
    os.write(fd, SCREEN)
    return bool(before[:4] != after[:4])


def sane(settings: Sequence[Any]) -> list[Any]:
    """Return settings of a terminal as they should be; speeds, and what depends on the line, are kept."""
    modes = [int(mode) & ~off | on for mode, on, off in zip(settings[:4], ON, OFF, strict=True)]
    keys = list(settings[6])
    for key, value in KEYS.items():
        keys[key] = value
    keys[termios.VMIN], keys[termios.VTIME] = b"\x01", b"\x00"
    return [*modes, *settings[4:6], keys]


def _terminal() -> int:
    for fd in (0, 1, 2):
        if os.isatty(fd):
            return fd
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise JobworkerError(
            "doctor --terminal: jw has no terminal; expected to run in the one that is to be restored",
            hint="stty sane < /dev/pts/N, for the N that `ps` shows beside a process in it",
        ) from None
