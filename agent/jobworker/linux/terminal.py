"""Open a pseudo-terminal, make it a process's controlling terminal, change its size."""

import errno
import fcntl
import os
import struct
import termios

TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441  # the same on all machines of our list
IUTF8 = 0o40000  # of the input modes: a backspace in a line removes a whole character
MULTIPLEXER = "/dev/ptmx"
FULL = (errno.ENOSPC, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # none is free now


def open_terminal(rows: int, cols: int) -> tuple[int, int]:
    """Return the master, which does not block, and the slave of a new terminal; raise OSError, which names the cause.

    The slave is opened without its name, so neither a mount nor a rename of /dev/pts can lead to another one.
    """
    try:
        master = os.open(MULTIPLEXER, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        more = "; all are in use: see /proc/sys/kernel/pty/max" if error.errno == errno.ENOSPC else ""
        text = f"no terminal can be opened: {MULTIPLEXER}: {os.strerror(error.errno or 0)}{more}"
        raise OSError(error.errno, text) from error
    try:
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        modes = termios.tcgetattr(slave)
        modes[0] |= IUTF8
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        set_size(slave, rows, cols)
    except (OSError, termios.error) as error:
        os.close(master)
        raise OSError(error.args[0], f"no terminal can be opened: {error.args[1]}") from error
    return master, slave


def set_size(terminal: int, rows: int, cols: int) -> None:
    """Change the size: the kernel sends SIGWINCH to the processes in the foreground if it is another one."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))


def take_terminal(slave: int) -> None:
    """Make it the controlling terminal of this process, which leads a session, and its 0, 1 and 2; raise OSError."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)


def unread(fd: int) -> int:
    """Return how many bytes a pipe, or a terminal's master, has to be read; raise OSError."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, struct.pack("i", 0)))[0])
