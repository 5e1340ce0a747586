"""Move the output of a terminal to the FIFO of its job, from which it goes to the log as any output does.

The FIFO is in between since splice(2) moves from a terminal only into a pipe. No byte is in neither of both and in
memory of this process, so the process may be killed at any moment.
"""

import errno
import os
import select

WIDE = 65536  # bytes that are moved at once
PIPE_BUF = 4096  # bytes that a pipe takes whole if it has room at all


class Terminal:
    """The master of one job's terminal, and the write end of the FIFO."""

    def __init__(self, job: str, master: int, pipe: int) -> None:
        self.job = job
        self.master = master
        self.pipe = pipe  # the read end of the FIFO, which is the log's
        self.writer = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.blocked = False  # the FIFO is full: not in epoll until something was read from it
        self._splices = True  # this kernel can splice from a terminal
        self._room = select.poll()
        self._room.register(self.writer, select.POLLOUT)

    def move(self) -> bool:
        """Move what there is; return whether there may be more to come. Set `blocked` if the FIFO has no room."""
        if not self._room.poll(0):
            self.blocked = True
            return True
        try:
            if self._splices:
                return self._splice() > 0
            return os.write(self.writer, os.read(self.master, PIPE_BUF)) > 0
        except BlockingIOError:
            return True
        except OSError:  # EIO: every end of the slave is closed
            return False

    def _splice(self) -> int:
        try:
            return os.splice(self.master, self.writer, WIDE, flags=os.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._splices = False  # from now on a kill between two calls may lose PIPE_BUF bytes
            return 1

    def close(self) -> None:
        """Close both: the FIFO ends with what is in it, and the job is hung up if no keeper has the master."""
        os.close(self.writer)
        os.close(self.master)
