"""Terminals of jobs: whether they work on this host, and their sizes."""

import errno
import os
from typing import Any

from jobworker.keeper.namespace import run_in_fork
from jobworker.keeper.state import State
from jobworker.linux.terminal import FULL, open_terminal, set_size, take_terminal


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
        if job.master >= 0:
            set_size(job.master, message["rows"], message["cols"])
        else:
            job.size = [message["rows"], message["cols"]]
        return {}
