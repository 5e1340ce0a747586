"""One launched job, from its FIFOs to the last of exit and end of output."""

import os
from typing import Any

from jobworker.linux.terminal import open_terminal


class Job:
    """What the keeper knows of a job. An upgrade passes all attributes on: their names are part of the format."""

    def __init__(self, job: str, fifo: str, message: dict[str, Any]) -> None:
        self.id = job
        self.drop = message.get("drop", False)  # output is dropped while the disk has no room
        self.max = message.get("max", 0)  # bytes that the log may hold; 0: no bound
        self.keep = message.get("keep", "newest")  # which bytes a full log keeps
        self.wait = message.get("wait", False)  # it waits for its readers when its log is full
        self.secrets = message.get(
            "secrets", ""
        )  # the path of a file with what is masked in its output; "": nothing is
        self.truncated = False  # output was dropped or refused
        self.tty = bool(message.get("tty"))  # it has a terminal in place of its standard streams
        # Rows and columns that the terminal is to get when it is opened, or, if adopted, when the pump has sent it.
        self.size: list[int] = [message["tty"]["rows"], message["tty"]["cols"]] if self.tty else []
        self.master = -1  # of the terminal; the pump has another: when the last is closed, the job is hung up
        self.slave = -1  # of the terminal, until the job has it
        streams = ("out",) if message.get("merge") or self.tty else ("out", "err")
        self.names = [f"{fifo}/{job}.{stream}" for stream in streams]  # of the FIFOs
        self.pipes: list[int] = []  # our read ends; the pump has others
        self.stdin = message.get("stdin") is not None  # it has an input; else it reads /dev/null
        self.input_name = f"{fifo}/{job}.in"  # of the FIFO of its input
        self.input = -1  # our write end of that FIFO, until the input ends; the pump has another
        self.input_reader = -1  # a read end, until the job has one; and after the end of the input, to count the rest
        self.spool: list[int] = []  # the two files of its input, shared with the pump; empty after the end
        self.accepted: int | None = None  # bytes of input in all, once it has ended
        self.unread: int | None = None  # bytes of input that the job will not read, if that is known
        self.group = ""  # the folder of its cgroup, if it has one
        self.limited = True  # it may have groups of cgroup v1 for its limits
        self.pid = 0  # the main process
        self.pidfd = -1  # of a job that another keeper launched: not our child
        self.report = -1  # the pipe on which a child that is to become the job reports, until it has
        self.reported = ""  # what it has reported so far: lines of JSON
        self.helper = 0  # the process that starts that child in a namespace, and reports its pid
        self.unreaped: list[int] = []  # our children that belong to a launch which is not over
        self.deadline = 0.0  # on CLOCK_MONOTONIC: when that launch is given up
        self.failure: list[Any] | None = None  # step, errno and detail of a launch whose processes are being ended
        self.init = 0  # pid 1 of the job's namespace, if it has one
        self.init_start = 0  # in ticks after boot
        self.oom = False  # it had used more than its limit before the limit could hold
        self.usage: dict[str, Any] | None = None  # what it had used when its main process ended
        self.struck = False  # a signal of ours reached the main process alive
        self.by = ""  # what has ended it, if that is neither the job itself nor the agent
        self.ended = False  # the main process is gone, and the journal has that
        self.closed = False  # no more output will come
        self.unheld = False  # it had ended when we adopted it: its pipes held on only if a pump held them

    @property
    def launching(self) -> bool:
        """Whether it is not known yet if the launch succeeds."""
        return self.report >= 0 or self.failure is not None

    def open_pipes(self) -> None:
        """Make the FIFOs and open our read ends."""
        umask = os.umask(0)  # two short calls in place of a chmod for each
        try:
            for name in self.names:
                # A job that changes its user opens /dev/stderr again; only this user can get here by name.
                os.mkfifo(name, 0o622)
        finally:
            os.umask(umask)
        for name in self.names:
            self.pipes.append(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        if self.tty:
            self.master, self.slave = open_terminal(*self.size)

    def descriptors(self) -> list[int]:
        """Return what the pump gets: the read ends; of a terminal the master, and the read end of its input."""
        if self.master < 0:
            return self.pipes
        return [*self.pipes, self.master, *([self.input_reader] if self.input_reader >= 0 else [])]

    def inherit(self, inherit: bool) -> None:
        """Let this process's next image have the descriptors, or not."""
        for fd in (*self.pipes, self.master, self.pidfd, self.report, self.input, self.input_reader, *self.spool):
            if fd >= 0:
                os.set_inheritable(fd, inherit)

    def reopen_pipes(self) -> None:
        """Open the FIFOs of a job that another keeper launched."""
        for name in self.names:
            self.pipes.append(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            # If the last writer is gone already, only a writer that came after us makes the end visible.
            os.close(os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def close_slave(self) -> None:
        """Leave the slave to the job: its last end is the end of the output."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close_pipes(self) -> None:
        self.close_slave()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1
            if self.input_reader >= 0:  # ours and the pump's are all: the input ends
                os.close(self.input_reader)
                self.input_reader = -1
        for fd in self.pipes:
            os.close(fd)
        self.pipes = []
        for name in self.names:
            try:
                os.unlink(name)
            except OSError:
                pass
