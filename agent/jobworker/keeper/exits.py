"""Journal how jobs ended. Every exit is journaled before the process is reaped: a kill in between loses no status."""

import os
import signal
import time
from typing import Any

from jobworker.keeper.input import Inputs
from jobworker.keeper.job import Job
from jobworker.keeper.launches import Launches
from jobworker.keeper.signals import Signals
from jobworker.keeper.state import State
from jobworker.keeper.usage import usage_of
from jobworker.linux.proc import children_of
from jobworker.linux.syscalls import EndedChild, Rusage, ended_child


class Exits:
    """The ends of our children and of adopted jobs."""

    def __init__(self, state: State, signals: Signals, launches: Launches, inputs: Inputs) -> None:
        self._state = state
        self._signals = signals
        self._launches = launches
        self._inputs = inputs

    def reap(self) -> None:
        """Journal and reap every child that has ended."""
        state = self._state
        state.exit_owed = False
        try:
            state.journal.settle()
        except OSError:
            return
        while True:
            try:
                child = ended_child()
            except ChildProcessError:
                return
            if child is None:
                return
            pid = child.pid
            if state.launches and pid not in state.pids:
                self._launches.settle(pid)  # it may be the end of a job whose start is not journaled yet
            job = state.pids.get(pid)
            if job is not None:
                try:
                    self._end(job, child)
                except OSError:
                    state.exit_owed = True
                    return  # it stays a zombie until the journal takes its status
            os.waitpid(pid, 0)
            if pid in state.launch_pids or pid in state.stuck:
                self._launches.reaped(pid)
            if pid == state.pump_pid:
                state.pump_pid = 0
            if pid in state.inits:
                state.ending.discard(pid)
                job = state.inits.pop(pid)
                state.remove_groups(job.id, job.group, limited=job.limited)

    def _end(self, job: Job, child: EndedChild) -> None:
        usage = self._usage(job, child.usage)
        exited = child.code == os.CLD_EXITED
        self._state.journal.append(
            {
                "event": "ended",
                "id": job.id,
                "code": child.status if exited else None,
                "signal": None if exited else child.status,
                "core": child.code == os.CLD_DUMPED,
                "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "user": usage.get("cpu_user", 0.0),
                "system": usage.get("cpu_system", 0.0),
                "usage": usage,
                "oom": self._out_of_memory(job, None if exited else child.status),
                "left": self._left_behind(job),
                "struck": job.struck,
                **({"by": job.by} if job.by else {}),
                **self._inputs.exited(job),
            }
        )
        job.ended = True
        del self._state.pids[job.pid]
        self._state.forget_if_done(job)

    def end_adopted(self, job: Job, status: tuple[int | None, int | None] | None) -> None:
        """Journal the end of a job that was not our child; `status` is (code, signal), None if it is unknown."""
        record: dict[str, Any]
        if status is None:
            record = {
                "event": "lost",
                "id": job.id,
                "why": "its keeper died, and no other process read its exit status",
            }
        else:
            record = {
                "event": "ended",
                "id": job.id,
                "code": status[0],
                "signal": status[1],
                "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "usage": self._usage(job),
                "oom": self._out_of_memory(job, status[1]),
                "left": self._left_behind(job),
                "struck": job.struck,
            }
        record |= self._inputs.exited(job)
        self._state.journal.note(record)
        del self._state.adopted[job.pidfd]
        job.ended = True
        self._state.forget_if_done(job)

    def _usage(self, job: Job, used: Rusage | None = None) -> dict[str, Any]:
        """Return what the job has used; its groups are still there at the first call."""
        if job.usage is None:  # kept: the journal may not take it at once
            job.usage = usage_of(self._state, job, used)
        return job.usage

    def _out_of_memory(self, job: Job, number: int | None) -> bool:
        """Whether the kernel killed the main process at the job's limit of memory; its group is still there."""
        if number != signal.SIGKILL or job.struck:
            return False
        job.oom = job.oom or self._state.limits.killed(job.id)  # kept: the journal may not take it at once
        return job.oom

    def _left_behind(self, job: Job) -> bool:
        """Whether processes of an ended job may be alive.

        In a namespace or a cgroup, exactly. Else its orphans are children of this process, which is their subreaper:
        if it has none but main processes and the pump, no process was left.
        """
        state = self._state
        if job.init:
            return self._left_in_namespace(job)
        if job.group:
            return not state.remove_groups(job.id, job.group, limited=job.limited)
        if job.limited:
            state.limits.remove(job.id)
        if job.pidfd >= 0:
            return True  # its orphans are not our children
        return bool(children_of(os.getpid()) - state.own_children())

    def _left_in_namespace(self, job: Job) -> bool:
        """Whether the init has children, which the orphans of the main process are; without any it is ended."""
        if job.pidfd >= 0:
            return True  # adopted, as its init is: only the agent would see that it is gone
        try:
            left = bool(children_of(job.init))
        except OSError:
            return False
        if not left:
            self._signals.kill_init(job.init, job.init_start)
        return left
