"""Launch a job: FIFOs, journal, groups, and a child that becomes the job. The journal has the outcome.

Two ways lead to a process. By a fork, which the keeper does not wait for: the child does all that may take long
(`child.py`), and its report pipe is followed (`launches.py`). By posix_spawn, which costs less and waits for the
execve, only if nothing in its way can hang (`quick.py`). If it cannot spawn into a cgroup, it does so only if it
pays to step into the job's cgroup before (`moves.py`).
"""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from jobworker.formats.secrets import read_secrets, variables
from jobworker.keeper.child import Birth, LaunchError, become_job, changed_signals
from jobworker.keeper.input import Inputs
from jobworker.keeper.job import Job
from jobworker.keeper.launches import Launches
from jobworker.keeper.namespace import start_in_namespace
from jobworker.keeper.pump_socket import PumpSocket
from jobworker.keeper.run_folder import ensure
from jobworker.keeper.spawn import require_valid, spawn
from jobworker.keeper.state import State
from jobworker.linux import cgroupfs, devices
from jobworker.linux.clone import fork_into
from jobworker.linux.spawn_into import GroupError

NO_GROUP = b'{"group":""}\n'  # reported by a child that does without its cgroup
OOM = b'{"oom":true}\n'  # reported by a child that has more memory than its job may


class Launcher:
    """The operation `launch`."""

    def __init__(self, state: State, pump: PumpSocket, launches: Launches, inputs: Inputs) -> None:
        self._state = state
        self._pump = pump
        self._launches = launches
        self._inputs = inputs
        self._signals = changed_signals()  # what a child has to reset
        self._begun: list[tuple[Job, dict[str, Any]]] = []  # jobs of this turn that have pipes and no process yet

    def launch(self, message: dict[str, Any]) -> None:
        """Begin to launch a job; raise OSError if the journal cannot be written: then nothing is started."""
        state = self._state
        if not state.holds_fifo():
            ensure(state)
        job = Job(message["id"], state.fifo, message)
        if job.id in state.jobs:
            raise OSError(errno.EEXIST, "launched before")
        if len(state.jobs) >= state.room:
            raise OSError(errno.EMFILE, f"{len(state.jobs)} jobs are as many as the limit of open files allows")
        job.group = state.cgroups.group(job.id)
        state.journal.reserve(len(state.jobs) + 1)
        inside = bool(message.get("namespace"))
        # Before there is a child: whatever dies from now on, an agent knows what to look for.
        state.journal.append({"event": "launching", "id": job.id, "group": job.group, "namespace": inside})
        state.jobs[job.id] = job
        try:
            if job.secrets:
                message["env"] = message["env"] | self._secrets_of(job)
            self._prepare(job, message.get("limits") or {})
            self._begun.append((job, message))
        except LaunchError as error:
            self._launches.abort(job, error.step, error.errno, error.detail)

    def _secrets_of(self, job: Job) -> dict[str, str]:
        """Return the variables that no message has; raise LaunchError."""
        try:
            if not self._pump.masks:
                raise OSError(errno.EOPNOTSUPP, "the pump is of an older version, which masks no secrets")
            return variables(read_secrets(job.secrets))
        except (OSError, ValueError) as error:
            raise LaunchError("setup", OSError(getattr(error, "errno", None) or errno.EIO, str(error))) from error

    def start(self) -> None:
        """Start all jobs that were begun, now that the pump gets their pipes in one message."""
        if not self._begun:
            return
        begun, self._begun = self._begun, []
        self._pump.send_pipes()  # before there is a child: if we are killed, the pump has all that it may write
        for job, message in begun:
            try:
                self._start(job, message)
            except LaunchError as error:
                self._launches.abort(job, error.step, error.errno, error.detail)
            except Exception as error:  # no fault here may cost more than one launch
                traceback.print_exc()
                if job.pid:
                    os.kill(job.pid, signal.SIGKILL)  # not reaped yet
                self._launches.abort(job, "setup", getattr(error, "errno", None) or errno.EPROTO, repr(error)[:500])
            finally:
                job.close_slave()

    def _prepare(self, job: Job, limits: dict[str, Any]) -> None:
        """Make the pipes and groups of a job; raise LaunchError."""
        job.limited = bool(limits)
        try:
            if job.tty and not self._pump.terminals:
                raise OSError(errno.EOPNOTSUPP, "the pump is of an older version, which knows no terminals")
            job.open_pipes()
            if job.stdin:
                self._inputs.open(job)
            self._pump.watch(job.id)
            self._make_groups(job, limits)
        except OSError as error:
            self._state.release_fifo()
            raise LaunchError("setup", error) from error

    def _start(self, job: Job, message: dict[str, Any]) -> None:
        """Start a child that becomes the job; raise LaunchError if there is none."""
        try:
            if self._spawn(job, message):
                return
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise LaunchError("setup", OSError(errno.EINVAL, repr(error))) from error
        require_valid(message)  # before there is a child, which would take longer to report it
        self._fork(job, message, message.get("limits") or {})

    def _make_groups(self, job: Job, limits: dict[str, Any]) -> None:
        """Make the job's cgroup and the groups of its limits; raise OSError."""
        try:
            if job.group:
                self._state.cgroups.make(job.group)
        except OSError as error:
            named = OSError(error.errno, f"{error.filename or job.group}: {error.strerror}")
            self._do_without(job, limits, named)
        self._state.limits.prepare(job.id, limits)

    def _spawn(self, job: Job, message: dict[str, Any]) -> bool:
        """Start the job by posix_spawn if that cannot take long; return whether it was. Raise LaunchError."""
        state = self._state
        into = job.group if state.cgroups.spawns else ""
        if job.group and not into and not state.cgroups.moves.are_worth_it():
            return False
        program = state.quick.program(message)
        if program is None or not state.quick.enter(message["cwd"]):
            return False
        entered = False
        try:
            if job.group and not into:
                entered = self._enter(job)
            began = state.clock.now()
            names = [job.input_name if job.stdin else os.devnull, *job.names]
            job.pid = spawn(program, message, names, state.nofile, into)
        except GroupError:
            return False  # the fork finds out why, and does without it if it may
        finally:
            if entered:
                state.cgroups.leave()
            if message["cwd"] != "/":
                os.chdir("/")
        self._launches.started(job, state.clock.start_of(job.pid, began))
        return True

    def _enter(self, job: Job) -> bool:
        """Step into the job's cgroup: what is spawned then is born in it. Return whether that worked."""
        try:
            self._state.cgroups.enter(job.group)
            return True
        except OSError as error:
            self._do_without(job, {}, error)
            return False

    def _fork(self, job: Job, message: dict[str, Any], limits: dict[str, Any]) -> None:
        """Fork a child that becomes the job, or a helper that starts it in a namespace. Raise LaunchError."""
        keeper_end = -1
        try:
            keeper_end, report = os.pipe2(os.O_CLOEXEC)
            try:
                child, born = self._fork_into_group(job, limits)
                if child == 0:
                    self._be_born(job, message, limits, report, born=born)
            finally:
                os.close(report)  # the child has the only copy: the end of the pipe is its doing
            os.set_blocking(keeper_end, False)
        except OSError as error:
            if keeper_end >= 0:
                os.close(keeper_end)
            raise LaunchError("setup", error) from error
        self._launches.add(job, keeper_end, child, helper=bool(message.get("namespace")))

    def _fork_into_group(self, job: Job, limits: dict[str, Any]) -> tuple[int, bool]:
        """Fork; return the pid, 0 in the child, and whether the child was born in its cgroup. Raise OSError."""
        if job.group and self._state.cgroups.clones:
            try:
                return fork_into(job.group), True
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.ENOMEM):
                    raise  # no process is available, in whichever group
                self._do_without(job, limits, error)
        return os.fork(), False

    def _be_born(self, job: Job, message: dict[str, Any], limits: dict[str, Any], report: int, *, born: bool) -> None:
        """Go on as the child; never return."""
        try:
            birth = Birth(
                message,
                job.names,
                job.slave,
                job.input_reader,
                self._state.nofile,
                self._signals,
                self._entering(job, limits, report, born=born),
                self._limiting(job, message, limits, report),
            )
            if message.get("namespace"):
                start_in_namespace(self._state.namespace, birth, job.id, report)
            become_job(birth, report)
        finally:
            os._exit(1)  # whatever happened: this process must never go on as a second keeper

    def _entering(self, job: Job, limits: dict[str, Any], report: int, *, born: bool) -> Callable[[], None]:
        """Return what steps into the groups that a child was not born in. The move may wait: here only it does."""
        state = self._state

        def enter() -> None:
            if job.group and not born:
                try:
                    state.cgroups.enter(job.group)
                except OSError:
                    if self._needs_cgroup(limits):
                        raise
                    os.write(report, NO_GROUP)
            state.limits.enter(job.id, limits)

        return enter

    def _limiting(self, job: Job, message: dict[str, Any], limits: dict[str, Any], report: int) -> Callable[[], None]:
        """Return what has the limits hold for a child that is in its groups."""
        more = 1 if message.get("namespace") else 0  # the init

        def limit() -> None:
            try:
                self._state.limits.apply(job.id, devices.resolve(limits, message["cwd"]), more=more)
            except OSError as error:
                if error.errno == errno.EBUSY and "memory" in limits:  # cgroup v1, and it has more memory already
                    os.write(report, OOM)
                    os.kill(os.getpid(), signal.SIGKILL)
                raise

        return limit

    def _needs_cgroup(self, limits: dict[str, Any]) -> bool:
        return any(self._state.limits.in_cgroup(kind) for kind in limits)

    def _do_without(self, job: Job, limits: dict[str, Any], error: OSError) -> None:
        """Launch without a cgroup, which worked in the trial and does not now, unless a limit needs it."""
        if self._needs_cgroup(limits):
            raise error
        print(f"job {job.id} gets no cgroup: {error.strerror or error}", file=sys.stderr, flush=True)
        cgroupfs.remove(job.group)
        job.group = ""
