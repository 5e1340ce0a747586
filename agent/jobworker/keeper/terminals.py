"""Terminals of jobs: whether they work on this host, and their sizes."""

import errno
import os
import sys
import time
from typing import Any

from jobworker.formats import sizes
from jobworker.formats.log_index import RECORD
from jobworker.keeper.job import Job
from jobworker.keeper.namespace import run_in_fork
from jobworker.keeper.state import State
from jobworker.linux.beneath import make_log_folder, open_in_log
from jobworker.linux.terminal import FULL, open_terminal, set_size, take_terminal, unread


def find_terminal() -> str:
    """Return why no job can have a terminal here; "" if one can: a process has had one."""

    def attempt(report: int) -> None:
        try:
            _, slave = open_terminal(24, 80)
            os.setsid()
            take_terminal(slave)
            os.tcgetpgrp(0)  # fails unless it is the controlling terminal
            os.write(report, b"yes")
        except OSError as error:
            # All in use is a matter of the moment: the launch reports it.
            os.write(report, b"yes" if error.errno in FULL else str(error.strerror).encode())

    try:
        answer = run_in_fork(attempt).decode()
    except OSError as error:
        answer = str(error.strerror)
    return "" if answer == "yes" else answer or "the attempt died"


class Terminals:
    """The operation `resize`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def resize(self, message: dict[str, Any]) -> dict[str, Any]:
        """Change the size of a job's terminal; answer `gone` if its output is closed. Raise OSError."""
        job = self._state.jobs.get(message["id"])
        if job is None or job.closed:
            return {"gone": True}
        if not job.tty:
            raise OSError(errno.ENOTTY, "the job has no terminal")
        self._record(job, message["rows"], message["cols"])
        if job.master >= 0:
            set_size(job.master, message["rows"], message["cols"])
        else:
            job.size = [message["rows"], message["cols"]]
        return {}

    def _record(self, job: Job, rows: int, cols: int) -> None:
        """Write the size into the log of the job; first, so that a killed keeper leaves no size out."""
        folder = f"{self._state.folder}/logs/{job.id}"
        try:
            offset = _written(job, folder)
            make_log_folder(folder)
            fd = open_in_log(folder, "sizes", os.O_RDWR | os.O_CREAT)
            try:
                known = os.pread(fd, sizes.MAX_RECORDS * sizes.SIZE_BYTES, 0)
                place, data = sizes.added(known, (time.time_ns(), offset, rows, cols))
                os.pwrite(fd, data, place)
                os.ftruncate(fd, place + len(data))
            finally:
                os.close(fd)
        except OSError as error:  # as on a full disk: the terminal of the job gets its size all the same
            print(f"job {job.id}: its size cannot be recorded: {error}", file=sys.stderr, flush=True)


def _written(job: Job, folder: str) -> int:
    """Return how many bytes the job has written: those in the log, in its FIFO and in its terminal."""
    on_the_way = sum(unread(fd) for fd in (*job.pipes, job.master) if fd >= 0)
    try:
        index = open_in_log(folder, "index", os.O_RDONLY)
    except FileNotFoundError:
        return on_the_way
    try:
        last = os.fstat(index).st_size // RECORD.size - 1
        if last < 0:
            return on_the_way
        _, offset, _, length, _, _ = RECORD.unpack(os.pread(index, RECORD.size, last * RECORD.size))
    finally:
        os.close(index)
    return int(offset + length) + on_the_way
