"""Follow the launches under way: their report pipes, their deadlines, and the outcome that goes to the journal.

The keeper never waits for a launch. A child becomes the job by itself; the end of its report pipe is the start of the
job, or follows the reason of a failure. A child that has done neither in time is killed.
"""

import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any

from jobworker.keeper.input import Inputs
from jobworker.keeper.job import Job
from jobworker.keeper.pump_socket import PumpSocket
from jobworker.keeper.state import State
from jobworker.linux import cgroupfs
from jobworker.linux.proc import PF_FORKNOEXEC, start_of, stat_of

LAUNCH_SECONDS = 5.0  # for a child to execute the program of its job
END_SECONDS = 1.0  # for a child that was killed to end; one that has not is stuck in the kernel
REPORT_BYTES = 65536  # read at once of a report
KILLED = "its process was killed before it had executed the program"


class Launches:
    """The jobs of `state.launches`."""

    def __init__(self, state: State, epoll: select.epoll, pump: PumpSocket, inputs: Inputs) -> None:
        self._state = state
        self._epoll = epoll
        self._pump = pump
        self._inputs = inputs
        self._by_report: dict[int, Job] = {}  # by report pipe

    def add(self, job: Job, report: int, child: int, *, helper: bool) -> None:
        """Follow a launch: `child` becomes the job, or starts it if it is a helper."""
        job.report, job.unreaped = report, [child]
        job.helper, job.pid = (child, 0) if helper else (0, child)
        job.deadline = time.monotonic() + LAUNCH_SECONDS
        self.resume(job)

    def resume(self, job: Job) -> None:
        """Follow a launch that was begun, perhaps by the version of the keeper before this one."""
        self._state.launch_pids |= dict.fromkeys(job.unreaped, job)
        if job.launching:
            self._state.launches[job.id] = job
        if job.report >= 0:
            self._by_report[job.report] = job
            self._epoll.register(job.report, 0)  # EPOLLHUP alone: what the child reports before that can wait

    def has_report(self, fd: int) -> bool:
        """Whether this descriptor is a report pipe that is followed."""
        return fd in self._by_report

    def timeout(self) -> float:
        """Return the seconds until the next deadline; -1: there is none."""
        if not self._state.launches:
            return -1
        return max(0.0, min(job.deadline for job in self._state.launches.values()) - time.monotonic())

    def read(self, report: int) -> None:
        """Read a report; at its end decide what became of the launch."""
        job = self._by_report[report]
        while True:
            try:
                data = os.read(report, REPORT_BYTES)
            except BlockingIOError:
                self._learn_pids(job)
                return
            if not data:
                self._decide(job)
                return
            job.reported += data.decode()

    def _learn_pids(self, job: Job) -> None:
        """Take the pids that a helper reports: these processes become our children when it ends."""
        if not job.helper:
            return
        report = _parsed(job)
        known = job.pid, job.init
        job.init, job.pid = report.get("init", job.init), report.get("pid", job.pid)
        for before, pid in zip(known, (job.pid, job.init), strict=True):
            if pid and not before:
                job.unreaped.append(pid)
                self._state.launch_pids[pid] = job
                if job.failure is not None:
                    _kill(pid)

    def _decide(self, job: Job) -> None:
        """Write the outcome of a launch whose report has ended to the journal."""
        self._learn_pids(job)
        self._close_report(job)
        report = _parsed(job)
        job.oom = job.oom or bool(report.get("oom"))
        if "group" in report:  # it could not step into its cgroup, and does without
            cgroupfs.remove(job.group)
            job.group = ""
        if "step" in report:
            self.fail(job, report["step"], report["errno"], report.get("detail", ""))
        elif not job.pid:
            self.fail(job, "setup", errno.ECANCELED, KILLED)
        else:
            self._decide_by_process(job, report.get("at", "setup"))

    def _decide_by_process(self, job: Job, step: str) -> None:
        """Tell a child that has executed the program from one that was killed before, at this step."""
        try:
            stat = stat_of(job.pid)  # it is not reaped, so there is one, if only of a zombie
        except OSError:
            self.fail(job, step, errno.ECANCELED, KILLED)
            return
        if int(stat[6]) & PF_FORKNOEXEC and not self._out_of_memory(job):
            self.fail(job, step, errno.ECANCELED, KILLED)
            return
        if job.failure is not None:  # it was killed, but only after its execve
            job.failure, job.struck = None, True
        self.started(job, int(stat[19]))

    def _out_of_memory(self, job: Job) -> bool:
        """Whether the kernel has killed the child at the job's limit of memory, as it would have killed the job."""
        job.oom = job.oom or self._state.limits.killed(job.id)
        return job.oom

    def started(self, job: Job, start: int) -> None:
        """Journal the start of a job, in ticks after boot: from now on its main process is awaited."""
        state = self._state
        self._drop(job, job.pid, job.init)
        self._inputs.started(job)
        state.pids[job.pid] = job
        if job.init:
            state.inits[job.init] = job
            job.init_start = start_of(job.init)
        state.journal.note(
            {
                "event": "started",
                "id": job.id,
                "group": job.group,
                "pid": job.pid,
                "start": start,
                "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "init": job.init,
                "init_start": job.init_start,
            }
        )

    def fail(self, job: Job, step: str, number: int, detail: str = "") -> None:
        """End what there is of a launch that has failed, then journal that."""
        if job.failure is None:  # else the first reason is the right one
            job.failure = [step, number, detail]
            job.deadline = time.monotonic() + END_SECONDS
        for pid in job.unreaped:
            if pid != job.helper:  # it ends by itself; of what it has started, it may not have reported all yet
                _kill(pid)
        if not job.unreaped and job.report < 0:
            self._conclude(job)

    def cancel(self, job: Job) -> int:
        """End a launch because of a SIGKILL for its job; return how many processes there were."""
        processes = len(job.unreaped)
        if job.report >= 0:
            self.read(job.report)
        if job.launching:
            self.fail(job, _parsed(job).get("at", "setup"), errno.ECANCELED, KILLED)
        else:  # it has started this moment
            _kill(job.pid)
        return processes

    def expire(self) -> None:
        """Kill the launches that have taken too long; give up those whose processes do not end."""
        now = time.monotonic()
        for job in [job for job in self._state.launches.values() if job.deadline <= now]:
            if job.failure is not None:
                self._close_report(job)
                self._give_up(job)
                continue
            self.read(job.report)  # how far it has come; and perhaps it has just succeeded
            if job.launching:
                self.fail(job, _parsed(job).get("at", "setup"), errno.ETIMEDOUT)

    def settle(self, pid: int) -> None:
        """Look at the reports of the launches that a child which has ended may belong to."""
        job = self._state.launch_pids.get(pid)
        # A child of a helper is unknown until the helper's report is read, which was written before it became ours.
        for each in [job] if job else [one for one in self._state.launches.values() if one.helper]:
            if each.report >= 0:
                self.read(each.report)
            if each.pid == pid and each.report >= 0:  # it is gone, so there is no more to come
                self._decide(each)

    def reaped(self, pid: int) -> None:
        """Drop a process of a launch that is gone."""
        state = self._state
        if pid in state.stuck:
            state.remove_groups(*state.stuck.pop(pid))
            return
        job = state.launch_pids.pop(pid)
        job.unreaped.remove(pid)
        if job.failure is not None and not job.unreaped and job.report < 0:
            self._conclude(job)

    def _give_up(self, job: Job) -> None:
        """Journal that a launch failed whose processes do not end: SIGKILL is pending, they execute nothing more."""
        for pid in [*job.unreaped]:
            print(f"job {job.id}: process {pid} of its launch does not end", file=sys.stderr, flush=True)
            _kill(pid)
            self._state.stuck[pid] = (job.id, job.group)
            self._drop(job, pid)
        self._conclude(job)

    def _conclude(self, job: Job) -> None:
        """Remove what a launch that failed has made, and journal it."""
        assert job.failure is not None
        self._drop(job)
        self.abort(job, *job.failure)

    def abort(self, job: Job, step: str, number: int, detail: str = "") -> None:
        """Remove what a launch has made that has no process, and journal that it failed."""
        state = self._state
        state.remove_groups(job.id, job.group)
        self._pump.forget(job.id)
        self._inputs.give_up(job)
        job.close_pipes()
        del state.jobs[job.id]
        state.journal.note({"event": "start_failed", "id": job.id, "step": step, "errno": number, "detail": detail})

    def _drop(self, job: Job, *pids: int) -> None:
        """Stop following a launch, and these processes of it; a helper is still to be reaped."""
        self._state.launches.pop(job.id, None)
        for pid in pids:
            if self._state.launch_pids.pop(pid, None):
                job.unreaped.remove(pid)
        job.reported = ""

    def _close_report(self, job: Job) -> None:
        if job.report >= 0:
            del self._by_report[job.report]
            self._epoll.unregister(job.report)  # before it is closed: a child may still have a copy
            os.close(job.report)
            job.report = -1


def _kill(pid: int) -> None:
    """Kill a child of ours, or of a helper that does not wait for it: the pid is still its own."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _parsed(job: Job) -> dict[str, Any]:
    """Return all fields of the complete lines of a report; of a field that comes again, the last."""
    report: dict[str, Any] = {}
    for line in job.reported.split("\n")[:-1]:
        report |= json.loads(line)
    return report
