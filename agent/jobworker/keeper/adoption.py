"""Take over jobs that another keeper launched: a pidfd holds the process, and the agent may know its status."""

import os
import select
import signal
from typing import Any

from jobworker.keeper.exits import Exits
from jobworker.keeper.input import Inputs
from jobworker.keeper.job import Job
from jobworker.keeper.pump_socket import PumpSocket
from jobworker.keeper.state import State
from jobworker.linux import features
from jobworker.linux.proc import is_alive, start_of
from jobworker.linux.syscalls import exit_status

# Whether a pidfd announces that its process was reaped (Linux 6.9). Before, only that it has ended.
HANGS_UP = features.kernel() >= (6, 9) and features.has("pidfd_hangup")


class Adoption:
    """The operations `adopt` and `exited`, and the ends that the pidfds announce."""

    def __init__(self, state: State, epoll: select.epoll, pump: PumpSocket, exits: Exits, inputs: Inputs) -> None:
        self._state = state
        self._epoll = epoll
        self._pump = pump
        self._exits = exits
        self._inputs = inputs
        self.unreaped: set[int] = set()  # pidfds of processes that have ended; nothing announces their reaping

    def adopt(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take over a job: its process, unless `ended`, and its output.

        Answer whether it is `held`, or `gone`: no process is the one that was started; and whether its log
        is `closed`.
        """
        state = self._state
        job = state.jobs.get(message["id"])
        if job is not None:
            return {"held": True, "closed": job.closed}
        job = Job(message["id"], state.fifo, message)
        job.pid = message["pid"]
        job.size = []  # the terminal has one
        # An agent of a version before did not pass it on.
        job.group = message["group"] if "group" in message else state.cgroups.find(job.id, job.pid)
        job.struck = message.get("struck", False)
        job.init, job.init_start = message.get("init") or (0, 0)
        job.ended = message["ended"] or not self._hold(job, message["start"])
        try:
            job.reopen_pipes()
            self._pump.unwatched.append(job.id)
        except FileNotFoundError:
            job.closed = True
            job.close_pipes()  # a keeper died between the two
        # Looked at after the pipes were opened: a process that is a zombie by then may have closed them before.
        # The master of a terminal is gone unless the pump had it, which then sends it.
        job.unheld = job.ended or job.tty or not is_alive(job.pid)
        if not (job.ended and job.closed):
            state.jobs[job.id] = job
        self._inputs.adopt(job)
        return {"gone": job.ended, "held": not job.ended, "closed": job.closed}

    def _hold(self, job: Job, start: int) -> bool:
        """Open a pidfd; return whether the process is the one that was started."""
        try:
            job.pidfd = os.pidfd_open(job.pid)
        except OSError:
            return False
        try:
            same = start_of(job.pid) == start  # looked at after pidfd_open: now it cannot change
        except OSError:
            same = False
        if not same:
            os.close(job.pidfd)
            return False
        self.watch(job)
        return True

    def watch(self, job: Job) -> None:
        """Have the loop notice the end of an adopted job."""
        self._state.adopted[job.pidfd] = job
        # EPOLLHUP, which needs no flag, comes when it has been reaped: then its status may be known.
        self._epoll.register(job.pidfd, 0 if HANGS_UP else select.EPOLLIN)

    def exited(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take the status of an adopted job from the agent, whose child it has become."""
        job = self._state.jobs.get(message["id"])
        taken = job is not None and job.pidfd in self._state.adopted
        if job is not None and taken:
            self._end(job, (message["code"], message["signal"]))
        return {"taken": taken}

    def ended(self, pidfd: int) -> None:
        """End an adopted job whose process is gone, or wait until its parent has reaped it."""
        if HANGS_UP:
            self._end(self._state.adopted[pidfd], exit_status(pidfd))
            return
        self._epoll.unregister(pidfd)  # it would announce the end again and again
        self.unreaped.add(pidfd)
        self.look()

    def look(self) -> None:
        """End the jobs whose processes were reaped since they ended: only the kernel may still know their status."""
        for pidfd in [*self.unreaped]:
            try:
                signal.pidfd_send_signal(pidfd, 0)  # a zombie takes it
            except ProcessLookupError:
                self._end(self._state.adopted[pidfd], exit_status(pidfd))

    def _end(self, job: Job, status: tuple[int | None, int | None] | None) -> None:
        self._exits.end_adopted(job, status)
        if job.pidfd in self.unreaped:
            self.unreaped.remove(job.pidfd)
        else:
            self._epoll.unregister(job.pidfd)
        os.close(job.pidfd)
