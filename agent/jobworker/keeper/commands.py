"""Run a command inside a job, for a stop that asks the job to end: in its groups and namespaces, as its user."""

import ctypes
import errno
import os
import resource
import sys
from typing import Any

from jobworker.keeper.child import change_user, changed_signals, find_program, reset_signals
from jobworker.keeper.state import State
from jobworker.linux import syscalls
from jobworker.linux.clone import fork_into
from jobworker.linux.inheritance import try_new_session_keyring
from jobworker.linux.private_tmp import enter_namespaces, namespaces_of
from jobworker.linux.proc import start_of
from jobworker.linux.sandbox import confine


class Commands:
    """The operation `command`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._signals = changed_signals()  # what a child has to reset

    def command(self, message: dict[str, Any]) -> dict[str, Any]:
        """Fork a child that becomes the command; answer its `pid` and `start`. Raise OSError.

        It leads a session, so that the agent finds what belongs to it. `report` is the path of a pipe of the agent,
        to which the child writes the errno of a failure. The execve closes the pipe.
        """
        state = self._state
        job = state.jobs.get(message["id"])
        group = job.group if job is not None else message.get("group", "")
        born = bool(group) and state.cgroups.clones
        pid = fork_into(group) if born else os.fork()
        if pid == 0:
            try:
                self._become(message, "" if born else group)
            except BaseException as error:
                print(f"job {message['id']}: the command of its stop: {error!r}", file=sys.stderr, flush=True)
            finally:
                os._exit(1)  # whatever happened: this process must never go on as a second keeper
        return {"pid": pid, "start": start_of(pid)}

    def _become(self, message: dict[str, Any], group: str) -> None:
        """Turn this child into the command; return only if that failed, which the agent has been sent then."""
        os.setsid()
        try_new_session_keyring()
        report = os.open(message["report"], os.O_WRONLY | os.O_CLOEXEC)
        try:
            if group:
                self._state.cgroups.enter(group)
            self._state.limits.enter_all(message["id"])
            reset_signals(self._signals)
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            for fd in range(3):
                os.dup2(null, fd)
            os.closerange(3, report)
            os.closerange(report + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            theirs = self._tmp_of(message)
            if init := message.get("init"):
                enter_namespace_of(*init, kind=self._state.namespace)
                self._wait_for_child(report)
            enter_namespaces(theirs)
            _execute(message, self._state.nofile)
        except OSError as error:
            os.write(report, str(error.errno).encode())

    def _tmp_of(self, message: dict[str, Any]) -> list[int]:
        """Return what leads to the /tmp of a job's main process, if that runs and the job has one of its own."""
        job = self._state.jobs.get(message["id"])
        return namespaces_of(job.pid) if message.get("private_tmp") and job and not job.ended else []

    def _wait_for_child(self, report: int) -> None:
        """Fork: only a child is inside the pid namespace. Go on there, and end here when it has ended."""
        child = os.fork()
        if child:
            os.close(report)
            os.waitpid(child, 0)
            os._exit(0)


def enter_namespace_of(init: int, start: int, *, kind: str) -> None:
    """Enter the namespaces that begin with this init; the children of this process are born there. Raise OSError."""
    names = (*(["user"] if kind == "user+pid" else []), "pid", "mnt")
    files = [os.open(f"/proc/{init}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    if start_of(init) != start:  # looked at after they were opened
        raise ProcessLookupError(errno.ESRCH, "the job's namespace is gone")
    for fd in files:
        if syscalls.LIBC.setns(fd, 0):
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def _execute(message: dict[str, Any], nofile: tuple[int, int]) -> None:
    """Execute the command as the job was: its limits, its user, its folder."""
    if message.get("umask") is not None:
        os.umask(message["umask"])
    if message.get("nice") is not None:
        os.setpriority(os.PRIO_PROCESS, 0, message["nice"])
    resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
    for name, limit in (message.get("rlimits") or {}).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), tuple(limit))
    if message.get("user"):
        change_user(**message["user"])
    os.chdir(message["cwd"])
    if message.get("sandbox"):
        confine(**message["sandbox"])
    argv, env = message["argv"], message["env"]
    os.execve(find_program(argv[0], env.get("PATH", os.defpath)), argv, env)
