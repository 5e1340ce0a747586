"""What a fork of the keeper does to become a job: all that may take long, or fail, on the terms of the job's owner.

The child writes lines of JSON to its report pipe: `at` before a step that may hang, `step`, `errno` and `detail` of a
failure. The pipe is closed by the execve: an end without a failure is a start that succeeded.
"""

import errno
import os
import resource
import signal
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from jobworker.keeper.wire import encode
from jobworker.linux.inheritance import take_loginuid, try_new_session_keyring
from jobworker.linux.private_tmp import enter_private_tmp
from jobworker.linux.proc import capabilities
from jobworker.linux.sandbox import confine
from jobworker.linux.syscalls import ALL_SIGNALS, drop_bounding_set, drop_capabilities
from jobworker.linux.terminal import take_terminal

CAP_SETGID, CAP_SETUID, CAP_SETPCAP = 6, 7, 8
NO_MEMORY = b'{"step":"setup","errno":12}\n'  # of a child without the memory to report more
AT_CWD, AT_EXEC = b'{"at":"cwd"}\n', b'{"at":"exec"}\n'  # the steps that may hang


class LaunchError(Exception):
    """A launch that failed, with the step and the errno that the journal names."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(step, error)
        self.step = step
        self.errno = error.errno or errno.EINVAL
        # More than the errno has: of the program the file that was found, of other steps the reason.
        self.detail = os.fsdecode(error.filename or "") if step == "exec" else (error.strerror or str(error))[:500]


def find_program(name: str, path: str) -> str:
    """Return the file to execute; `path` is the job's own PATH, the current folder the job's.

    Raises OSError with the file that is not executable, or with the name if no folder has it.
    """
    if "/" in name:
        return name
    refused, found = errno.ENOENT, name
    for folder in path.split(":"):
        file = f"{folder or '.'}/{name}"  # not by os.path.join: in a fork, each page that is touched is copied
        if os.path.isfile(file):
            if os.access(file, os.X_OK):
                return file
            refused, found = errno.EACCES, file
    raise OSError(refused, os.strerror(refused), found)


class Birth(NamedTuple):
    """All that a child needs to become the job."""

    message: dict[str, Any]  # the request to launch it
    names: list[str]  # of its FIFOs
    slave: int  # of its terminal, which it has in their place; -1: none
    stdin: int  # the descriptor of its input; -1: none
    nofile: tuple[int, int]  # its limit of open files, soft and hard
    signals: Sequence[int]  # those that the keeper handles or ignores
    enter_groups: Callable[[], None]  # step into the groups that it was not born in
    apply_limits: Callable[[], None]  # have its limits hold


def become_job(birth: Birth, report: int) -> NoReturn:
    """Turn this child into the job; report why not, and end. `report` is the pipe to the keeper."""
    failure = NO_MEMORY
    try:
        exec_job(birth, report)
    except LaunchError as error:
        failure = failure_line(error)
    finally:
        os.write(report, failure)
        os._exit(1)  # whatever happened: this process must never go on as a second keeper


def failure_line(error: LaunchError) -> bytes:
    return encode({"step": error.step, "errno": error.errno, "detail": error.detail}).encode() + b"\n"


def exec_job(birth: Birth, report: int) -> None:
    """Turn this child into the job; return only by LaunchError. What it may not do any more, it does first."""
    message = birth.message
    step = "setup"
    try:
        birth.enter_groups()  # first: whatever it uses from now on counts as the job's
        os.setsid()
        try_new_session_keyring()  # before another user: most users may have 200 keys, root a million
        reset_signals(birth.signals)
        if birth.slave >= 0:
            take_terminal(birth.slave)
            if message.get("user"):
                os.fchown(0, message["user"]["uid"], -1)  # it can open /dev/tty by its name, as after a login
            close_others(report)
        else:
            open_streams(birth.names, birth.stdin, report)
        birth.apply_limits()  # late, as they hold for us too; before a limit of open files, and as our own user
        if message.get("umask") is not None:
            os.umask(message["umask"])
        if message.get("nice") is not None:
            os.setpriority(os.PRIO_PROCESS, 0, message["nice"])
        resource.setrlimit(resource.RLIMIT_NOFILE, birth.nofile)
        for name, limit in (message.get("rlimits") or {}).items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), tuple(limit))
        if message.get("private_tmp"):
            enter_private_tmp()  # with what that takes, which another user lacks
        step = "user"
        if message.get("user"):
            change_user(**message["user"])
        step = "cwd"
        os.write(report, AT_CWD)
        os.chdir(message["cwd"])
        if message.get("sandbox"):
            step = "setup"
            confine(**message["sandbox"])  # as the user, in whose terms the paths are
        step = "exec"
        os.write(report, AT_EXEC)
        argv, env = message["argv"], message["env"]
        os.execve(find_program(argv[0], env.get("PATH", os.defpath)), argv, env)
    except OSError as error:
        short = step == "exec" and error.errno in (errno.EAGAIN, errno.ENOMEM)
        raise LaunchError("setup" if short else step, error) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise LaunchError("setup", OSError(errno.EINVAL, repr(error))) from error


def changed_signals() -> list[signal.Signals]:
    """Return the signals that this process handles or ignores."""
    return [number for number in ALL_SIGNALS if signal.getsignal(number) is not signal.SIG_DFL]


def reset_signals(changed: Sequence[int] = ALL_SIGNALS) -> None:
    """Have all signals do what they do by default, if no others were changed, and none be blocked."""
    signal.set_wakeup_fd(-1)
    for number in changed:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def open_streams(names: list[str], stdin: int, report: int) -> None:
    """Have 0, 1 and 2 open, by names that only this user can reach, and besides them only `report`."""
    streams = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) if stdin < 0 else stdin]
    streams += [os.open(name, os.O_RDWR | os.O_CLOEXEC) for name in names]
    for fd, stream in enumerate([*streams, streams[-1]][:3]):
        os.dup2(stream, fd)
    close_others(report)


def close_others(report: int) -> None:
    """Close all but 0, 1, 2 and `report`."""
    os.closerange(3, report)
    os.closerange(report + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def can_change_user() -> bool:
    """Whether a child can become any user: root in a container may lack what that takes."""
    return os.geteuid() == 0 and all(capabilities() >> number & 1 for number in (CAP_SETGID, CAP_SETUID, CAP_SETPCAP))


def change_user(uid: int, gid: int, groups: list[int]) -> None:
    """Become this user for good: with none of our groups and, but for root, without capabilities, now or later."""
    if uid:
        take_loginuid(uid)
        drop_bounding_set()
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise OSError(errno.EINVAL, f"{uid}:{gid} is not what a process can be")  # -1 changes nothing
    if uid:
        drop_capabilities()
