"""Move the output of terminals to the FIFOs of their jobs, and the input of the jobs to their terminals.

The output goes to the log from its FIFO as any other, and the input comes into a FIFO from its spool as any other:
splice(2) moves between a terminal and a pipe only. No byte is in memory of this process alone, so the process may be
killed at any moment.
"""

import errno
import os
import select
import termios
from collections.abc import Iterator

WIDE = 65536  # bytes that are moved at once
PIPE_BUF = 4096  # bytes that a pipe takes whole if it has room at all
VEOF = termios.VEOF  # the place of the end-of-file character in the settings of a terminal


class Terminal:
    """The master of one job's terminal, and the two FIFOs."""

    def __init__(self, job: str, master: int, pipe: int, reader: int = -1) -> None:
        self.job = job
        self.master = master
        self.pipe = pipe  # the read end of the FIFO of the output, which is the log's
        self.writer = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.reader = reader  # the read end of the FIFO of the input; -1: the input has ended
        self.blocked = False  # the FIFO of the output is full: go on when something was read from it
        self.full = False  # the terminal takes no more input: go on when it does
        self.watched = 0  # the events of the master that epoll reports; 0: it is not in epoll
        self._left = b""  # input that was read and not written, on a kernel that cannot splice to a terminal
        self._splices = True  # this kernel can splice from a terminal, and to one
        self._room = select.poll()
        self._room.register(self.writer, select.POLLOUT)
        self._input = select.poll()
        if reader >= 0:
            self._input.register(reader, select.POLLIN)

    def move(self) -> bool:
        """Move the output that there is; return whether more may come. Set `blocked` if the FIFO has no room."""
        if not self._room.poll(0):
            self.blocked = True
            return True
        try:
            length = self._splice(self.master, self.writer)
            return (len(self._copy_output()) if length < 0 else length) > 0
        except BlockingIOError:
            return True
        except OSError:  # EIO: every end of the slave is closed
            return False

    def _copy_output(self) -> bytes:
        """Copy: a kill between the two calls loses these bytes."""
        data = os.read(self.master, PIPE_BUF)
        os.write(self.writer, data)
        return data

    def feed(self) -> bool:
        """Move the input that there is; return whether more may come. Set `full` if the terminal has no room.

        At the end of the input, type the end-of-file character.
        """
        self.full = False
        length = -1
        try:
            length = -1 if self._left else self._splice(self.reader, self.master)
            if length < 0:
                self._left = self._left or os.read(self.reader, PIPE_BUF)
                length = os.write(self.master, self._left) if self._left else 0
                self._left = self._left[length:]
                self.full = bool(self._left)
            if length:
                return True
            end = termios.tcgetattr(self.master)[6][VEOF]
            return end != b"\0" and not os.write(self.master, end)
        except BlockingIOError:
            self.full = any(events & select.POLLIN for _, events in self._input.poll(0)) or not length
            return True
        except (OSError, termios.error):
            return False

    def _splice(self, source: int, target: int) -> int:
        """Splice; return the number of bytes, or -1 if the kernel cannot."""
        if not self._splices:
            return -1
        try:
            return os.splice(source, target, WIDE, flags=os.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._splices = False
            return -1

    def close(self) -> None:
        """Close all: the log ends with what is in its FIFO, and the job is hung up if no keeper has the master."""
        for fd in (self.writer, self.reader, self.master):
            if fd >= 0:
                os.close(fd)


class Terminals:
    """All open terminals, in the epoll of the pump."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._by_fd: dict[int, Terminal] = {}  # by master and by reader
        self._blocked: dict[int, Terminal] = {}  # by read end of a full FIFO
        self.wanted: set[str] = set()  # jobs of whose terminal the keeper has no master

    def has(self, fd: int) -> bool:
        """Whether epoll's news of this descriptor is for `serve`."""
        return fd in self._by_fd

    def add(self, job: str, pipe: int, fds: list[int]) -> None:
        """Take master and read end of the input of a job; `pipe` is that of its output."""
        terminal = Terminal(job, fds[0], pipe, *fds[1:])
        self._by_fd |= dict.fromkeys(fds, terminal)
        self._watch(terminal)
        if terminal.reader >= 0:
            self._epoll.register(terminal.reader, select.EPOLLIN)

    def serve(self, fd: int, events: int) -> None:
        """Handle what epoll reports of a descriptor."""
        terminal = self._by_fd.get(fd)
        if terminal is None:
            return  # it was closed in this turn
        if fd == terminal.reader:
            self._feed(terminal)
            return
        if events & select.EPOLLHUP:
            self._end_input(terminal)  # no process has it any more
        if events & select.EPOLLOUT and terminal.full:
            self._feed(terminal)
        if events & ~select.EPOLLOUT and not terminal.blocked and not terminal.move():
            self.close(terminal)
        elif terminal.blocked:
            self._blocked[terminal.pipe] = terminal
            self._watch(terminal)

    def _feed(self, terminal: Terminal) -> None:
        """Move input; stop listening to the FIFO while the terminal is full, and for good at the end."""
        was = terminal.full
        if not terminal.feed():
            terminal.full = was
            self._end_input(terminal)
        elif terminal.full != was:
            if was:
                self._epoll.register(terminal.reader, select.EPOLLIN)
            else:
                self._epoll.unregister(terminal.reader)
        if terminal.full != was:
            self._watch(terminal)

    def _end_input(self, terminal: Terminal) -> None:
        """Close the read end of the input: the keeper ends it when it closes its own."""
        if terminal.reader >= 0:
            if not terminal.full:
                self._epoll.unregister(terminal.reader)  # before it is closed: the keeper has a copy
            del self._by_fd[terminal.reader]
            os.close(terminal.reader)
            terminal.reader, terminal.full = -1, False
            self._watch(terminal)

    def _watch(self, terminal: Terminal) -> None:
        """Have epoll report what can be done with the master; nothing else, or it would report it again and again."""
        events = (0 if terminal.blocked else select.EPOLLIN) | (select.EPOLLOUT if terminal.full else 0)
        if terminal.watched != events:
            if terminal.watched:
                self._epoll.unregister(terminal.master)
            if events:
                self._epoll.register(terminal.master, events)
            terminal.watched = events

    def unblock(self, pipe: int) -> None:
        """Go on with a terminal, now that the FIFO of its output has room."""
        if terminal := self._blocked.pop(pipe, None):
            terminal.blocked = False
            self._watch(terminal)

    def drop(self, job: str) -> None:
        """Close the terminal of a job whose launch has failed."""
        for terminal in {terminal for terminal in self._by_fd.values() if terminal.job == job}:
            self.close(terminal)

    def close(self, terminal: Terminal) -> None:
        """Close a terminal that has ended."""
        self._blocked.pop(terminal.pipe, None)
        self._end_input(terminal)
        del self._by_fd[terminal.master]
        if terminal.watched:
            self._epoll.unregister(terminal.master)
        terminal.close()

    def offers(self) -> Iterator[tuple[str, list[int]]]:
        """Yield each wanted terminal with its descriptors; it is no longer wanted once the next one is taken."""
        for terminal in {terminal for terminal in self._by_fd.values() if terminal.job in self.wanted}:
            yield terminal.job, [fd for fd in (terminal.master, terminal.reader) if fd >= 0]
            self.wanted.discard(terminal.job)
        self.wanted.clear()  # those that have ended
