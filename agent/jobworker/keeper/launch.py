"""Launch a job: FIFOs, journal, groups, spawn. The journal tells how it went."""

import errno
import os
import signal
import time
from typing import Any

from jobworker.keeper.job import Job
from jobworker.keeper.namespace import spawn_in_namespace
from jobworker.keeper.pump_socket import PumpSocket
from jobworker.keeper.spawn import LaunchError, spawn
from jobworker.keeper.state import State
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
        group = f"{state.cgroups.root}/{job.id}" if state.cgroups.root else ""
        state.journal.reserve(len(state.jobs) + 1)
        inside = bool(message.get("namespace"))
        state.journal.append({"event": "launching", "id": job.id, "group": group, "namespace": inside})
        state.jobs[job.id] = job
        try:
            self._start_process(job, message, group)
        except LaunchError as error:
            self._abort(job)
            state.journal.note({"event": "start_failed", "id": job.id, "step": error.step, "errno": error.errno})
            return
        state.pids[job.pid] = job
        if job.init:
            state.inits[job.init] = job.id
            job.init_start = start_of(job.init)
        state.journal.note(
            {
                "event": "started",
                "id": job.id,
                "pid": job.pid,
                "start": start_of(job.pid),
                "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "init": job.init,
                "init_start": job.init_start,
            }
        )

    def _start_process(self, job: Job, message: dict[str, Any], group: str) -> None:
        """Start the job's process, born in its groups and its namespace; raise LaunchError."""
        cgroups, all_limits = self._state.cgroups, self._state.limits
        limits = message.get("limits") or {}
        try:
            job.open_pipes()
            self._pump.unwatched.append(job.id)
            self._pump.send_pipes()
            if group:
                os.mkdir(group, 0o755)
            all_limits.prepare(job.id, limits)
        except (OSError, KeyError) as error:
            raise LaunchError("setup", error if isinstance(error, OSError) else OSError(errno.ENOSYS)) from error
        try:
            try:
                if group:
                    cgroups.enter(group)
                all_limits.enter(job.id, limits)
            except OSError as error:
                raise LaunchError("setup", error) from error
            if message.get("namespace"):
                kind = self._state.namespace
                job.init, job.pid = spawn_in_namespace(kind, message, job.names, self._state.nofile)
            else:
                job.pid = spawn(message, job.names, self._state.nofile)
        finally:
            all_limits.leave(limits)
            if group:
                cgroups.leave()
        try:  # only now: while we are in the group the limits are not for us, and what exceeds one is killed
            all_limits.apply(job.id, limits, more=1 if job.init else 0)
        except OSError:  # it has more memory already
            os.kill(job.pid, signal.SIGKILL)
            job.oom = True

    def _abort(self, job: Job) -> None:
        """Remove what a launch that failed has made."""
        self._state.remove_group(job.id)
        self._pump.forget(job.id)
        job.close_pipes()
        del self._state.jobs[job.id]
