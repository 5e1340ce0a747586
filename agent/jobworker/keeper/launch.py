"""Launch a job: FIFOs, journal, groups, spawn. The journal tells how it went."""

import errno
import os
import signal
import sys
import time
from typing import Any

from jobworker.keeper.job import Job
from jobworker.keeper.namespace import spawn_in_namespace
from jobworker.keeper.pump_socket import PumpSocket
from jobworker.keeper.spawn import LaunchError, spawn
from jobworker.keeper.state import State
from jobworker.linux import cgroupfs, devices
from jobworker.linux.proc import start_of


class Launcher:
    """The operation `launch`."""

    def __init__(self, state: State, pump: PumpSocket) -> None:
        self._state = state
        self._pump = pump

    def launch(self, message: dict[str, Any]) -> None:
        """Launch a job; raise OSError if the journal cannot be written: then nothing was started."""
        state = self._state
        job = Job(message["id"], state.fifo, message)
        if job.id in state.jobs:
            raise OSError(errno.EEXIST, "launched before")
        if len(state.jobs) >= state.room:
            raise OSError(errno.EMFILE, f"{len(state.jobs)} jobs are as many as the limit of open files allows")
        job.group = state.cgroups.group(job.id)
        state.journal.reserve(len(state.jobs) + 1)
        inside = bool(message.get("namespace"))
        state.journal.append({"event": "launching", "id": job.id, "group": job.group, "namespace": inside})
        state.jobs[job.id] = job
        try:
            self._start_process(job, message)
        except LaunchError as error:
            self._abort(job)
            failed = {"event": "start_failed", "id": job.id, "step": error.step, "errno": error.errno}
            state.journal.note(failed | {"detail": error.detail})
            return
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
                "start": start_of(job.pid),
                "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "init": job.init,
                "init_start": job.init_start,
            }
        )

    def _start_process(self, job: Job, message: dict[str, Any]) -> None:
        """Start the job's process, born in its groups and its namespace; raise LaunchError."""
        limits = message.get("limits") or {}
        try:
            job.open_pipes()
            self._pump.unwatched.append(job.id)
            self._pump.send_pipes()
            limits = devices.resolve(limits, message.get("cwd", "/"))
            self._make_groups(job, limits)
        except OSError as error:
            raise LaunchError("setup", error) from error
        try:
            self._enter_groups(job, limits)
            if message.get("namespace"):
                kind = self._state.namespace
                job.init, job.pid = spawn_in_namespace(kind, message, job.names, self._state.nofile)
            else:
                job.pid = spawn(message, job.names, self._state.nofile)
        finally:
            self._leave_groups(job, limits)
        try:  # only now: while we are in the group the limits are not for us, and what exceeds one is killed
            self._state.limits.apply(job.id, limits, more=1 if job.init else 0)
        except OSError:  # it has more memory already
            os.kill(job.pid, signal.SIGKILL)
            job.oom = True

    def _make_groups(self, job: Job, limits: dict[str, Any]) -> None:
        """Make the job's cgroup and the groups of its limits; raise OSError."""
        try:
            if job.group:
                self._state.cgroups.make(job.group)
        except OSError as error:
            named = OSError(error.errno, f"{error.filename or job.group}: {error.strerror}")
            self._do_without(job, limits, named)
        self._state.limits.prepare(job.id, limits)

    def _enter_groups(self, job: Job, limits: dict[str, Any]) -> None:
        """Step into them; raise LaunchError."""
        try:
            try:
                if job.group:
                    self._state.cgroups.enter(job.group)
            except OSError as error:
                self._do_without(job, limits, error)
            self._state.limits.enter(job.id, limits)
        except OSError as error:
            raise LaunchError("setup", error) from error

    def _leave_groups(self, job: Job, limits: dict[str, Any]) -> None:
        self._state.limits.leave(limits)
        if job.group:
            self._state.cgroups.leave()

    def _do_without(self, job: Job, limits: dict[str, Any], error: OSError) -> None:
        """Launch without a cgroup, which worked in the trial and does not now, unless a limit needs it."""
        if any(self._state.limits.in_cgroup(kind) for kind in limits):
            raise error
        print(f"job {job.id} gets no cgroup: {error.strerror or error}", file=sys.stderr, flush=True)
        cgroupfs.remove(job.group)
        job.group = ""

    def _abort(self, job: Job) -> None:
        """Remove what a launch that failed has made."""
        self._state.remove_groups(job.id, job.group)
        self._pump.forget(job.id)
        job.close_pipes()
        del self._state.jobs[job.id]
