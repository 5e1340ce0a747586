"""The input of jobs: a FIFO for each, the spool that the agent fills, and what was left unread at the end.

The pump moves the bytes. The keeper shares the open files with it, so that a killed pump's successor goes on at the
exact byte, and holds a write end of the FIFO: the input of a job does not end with the pump.
"""

import fcntl
import os
import struct
import termios
from typing import Any

from jobworker.formats.spool import OPEN_MODE, accepted_bytes, next_byte, spool_paths
from jobworker.keeper.job import Job
from jobworker.keeper.pump_socket import PumpSocket
from jobworker.keeper.state import State

CLOSED = "closed"  # how an input ends as it should: the job was given its last byte
LOST = "lost"  # how an input ends if keeper and pump died: no process knows how much of it the job was given


class Inputs:
    """What the keeper does about the input of its jobs."""

    def __init__(self, state: State, pump: PumpSocket) -> None:
        self._state = state
        self._pump = pump
        self._offered: dict[str, list[int]] = {}  # by job: what the pump of the keeper before has passed on
        self._ended: dict[str, str] = {}  # by job: how an input ended before the job was adopted
        self._expected: set[str] | None = None  # jobs of whose input the pump has news; None: no hello yet
        self._awaiting: dict[str, Job] = {}  # adopted jobs whose input the pump is still to pass on
        pump.input_news = self._read

    def open(self, job: Job) -> None:
        """Make the FIFO and the spool of a new job, and give them to the pump; raise OSError."""
        os.mkfifo(job.input_name, 0o644)  # a job that changes its user opens /dev/stdin again
        os.chmod(job.input_name, 0o644)
        both = os.open(job.input_name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # opened at once, without a reader
        try:
            # The job gets this end. It is held until the job has it: without a reader, the pump would see an end.
            job.input_reader = os.open(job.input_name, os.O_RDONLY | os.O_CLOEXEC)
            os.set_blocking(job.input_reader, not job.tty)  # of a terminal, the pump reads it
            job.input = os.open(job.input_name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            os.close(both)
        os.makedirs(f"{self._state.folder}/input", 0o700, exist_ok=True)
        for path in spool_paths(self._state.folder, job.id):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            job.spool.append(os.open(path, flags, OPEN_MODE))
        self._pump.outbox.append(("input", job.id))

    def adopt(self, job: Job) -> None:
        """Take the input of an adopted job from the pump."""
        if not job.stdin or not os.path.exists(spool_paths(self._state.folder, job.id)[0]):
            return  # it has ended before
        if job.ended:
            job.input, *job.spool = self._offered.pop(job.id, [-1])
            self.give_up(job)
        elif job.id in self._ended:
            self._end(job, self._ended.pop(job.id))
        elif job.id in self._offered:
            job.input, *job.spool = self._offered.pop(job.id)
        elif self._expected is None or job.id in self._expected:
            self._awaiting[job.id] = job
        else:
            self._end(job, LOST)

    def _read(self, message: dict[str, Any], fds: list[int]) -> None:
        """Take what the pump sends about input."""
        if "input_end" in message:
            if job := self._state.jobs.get(message["input_end"]):
                self._awaiting.pop(job.id, None)
                if not job.ended:  # else its exit has counted the input already
                    self._end(job, message["how"])
            else:
                self._ended[message["input_end"]] = message["how"]
        elif "hello" in message:
            self._expected = set(message.get("inputs", []))
            for job in [job for name, job in self._awaiting.items() if name not in self._expected]:
                del self._awaiting[job.id]
                self._end(job, LOST)
        elif job := self._awaiting.pop(message["input"], None):
            job.input, *job.spool = fds
        elif message["input"] not in self._state.jobs:
            self._offered[message["input"]] = fds  # its adoption is still to come
        else:
            for fd in fds:
                os.close(fd)

    def started(self, job: Job) -> None:
        """Leave the read end to the job, unless its input has ended already: see `_end`."""
        if job.input_reader >= 0 and job.input >= 0 and not job.tty:  # of a terminal, the pump has the other one
            os.close(job.input_reader)
            job.input_reader = -1

    def _end(self, job: Job, how: str) -> None:
        """End the input of a job that goes on: it sees the end once it has read what is in its pipe."""
        job.accepted = self._accepted_by_name(job)  # of an adopted job that has no files here
        self._remove_spool_names(job)  # first: the agent counts nothing as accepted that it wrote after this
        if job.spool:
            job.accepted = accepted_bytes(job.spool)[0]
        if how != CLOSED:
            job.unread = self._count(job)
        elif job.input_reader < 0:
            try:  # held from now on, to see at the exit what the job has not read
                job.input_reader = os.open(job.input_name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                pass
        self._remove(job)
        record = {"event": "input_end", "id": job.id, "how": how}
        self._state.journal.note(record if job.accepted is None else record | {"accepted": job.accepted})

    def exited(self, job: Job) -> dict[str, int]:
        """End the input of a job whose main process is gone; return what the journal has of it, as far as known."""
        if not job.stdin:
            return {}
        self._remove_spool_names(job)
        if job.accepted is None and job.spool:
            job.accepted = accepted_bytes(job.spool)[0]
        if job.unread is None:
            job.unread = self._count(job)
        self.give_up(job)
        counts = {"stdin_unread": job.unread, "stdin_accepted": job.accepted}
        return {name: count for name, count in counts.items() if count is not None}

    def give_up(self, job: Job) -> None:
        """Close and remove all that a job has for its input, here and in the pump."""
        if not job.stdin:
            return
        self._awaiting.pop(job.id, None)
        self._pump.outbox.append(("end_input", job.id))
        self._remove(job)
        _unlink(job.input_name)
        if job.input_reader >= 0:
            os.close(job.input_reader)
            job.input_reader = -1

    def _accepted_by_name(self, job: Job) -> int | None:
        try:
            return max(os.stat(path).st_size for path in spool_paths(self._state.folder, job.id))
        except OSError:
            return None

    def _count(self, job: Job) -> int | None:
        """Return how many bytes of its input the job has not read."""
        pipe = job.input if job.input >= 0 else job.input_reader
        if pipe < 0:
            return None
        unread = int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])
        if job.spool:
            unread += accepted_bytes(job.spool)[0] - next_byte(job.spool)[1]
        return unread

    def _remove(self, job: Job) -> None:
        """Close the spool and the write end; the FIFO stays."""
        self._remove_spool_names(job)
        for fd in (job.input, *job.spool):
            if fd >= 0:
                os.close(fd)
        job.input, job.spool = -1, []

    def _remove_spool_names(self, job: Job) -> None:
        for path in spool_paths(self._state.folder, job.id):
            _unlink(path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
