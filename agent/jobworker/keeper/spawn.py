"""Start the program of a job: by posix_spawn, or by a fork for another user, umask, niceness or rlimits."""

import errno
import fcntl
import json
import os
import resource
import signal
import sys
from typing import Any

from jobworker.keeper.wire import encode
from jobworker.linux.proc import capabilities
from jobworker.linux.syscalls import ALL_SIGNALS, drop_bounding_set, drop_capabilities

CAP_SETGID, CAP_SETUID, CAP_SETPCAP = 6, 7, 8
CHANGES = ("user", "umask", "nice", "rlimits")  # of a launch: what posix_spawn cannot do
NO_MEMORY = b'{"step":"setup","errno":12}'  # of a child without the memory to report more


class LaunchError(Exception):
    """A launch that failed, with the step and the errno that the journal names."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(step, error)
        self.step = step
        self.errno = error.errno or errno.EINVAL
        self.detail = (error.strerror or str(error))[:500]  # more than the errno says, for a failed setup


def find_program(name: str, path: str) -> str:
    """Return the file to execute; `path` is the job's own PATH, the current folder the job's."""
    if "/" in name:
        return name
    refused = errno.ENOENT
    for folder in path.split(":"):
        file = os.path.join(folder or ".", name)
        if os.path.isfile(file):
            if os.access(file, os.X_OK):
                return file
            refused = errno.EACCES
    raise OSError(refused, os.strerror(refused), name)


def spawn(message: dict[str, Any], names: list[str], nofile: tuple[int, int]) -> int:
    """Start the program in a new session with nothing open but 0, 1 and 2; raise LaunchError.

    With one name, 2 is the same as 1.
    """
    if any(message.get(change) is not None for change in CHANGES):
        return fork_and_exec(message, names, nofile)
    try:
        argv, env, cwd = message["argv"], message["env"], message["cwd"]
        os.chdir(cwd)
    except OSError as error:
        raise LaunchError("cwd", error) from error
    except (ValueError, TypeError, KeyError) as error:
        raise LaunchError("setup", OSError(errno.EINVAL, repr(error))) from error
    mine = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        program = find_program(argv[0], env.get("PATH", os.defpath))
        resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
        # The job opens its FIFOs O_RDWR: it blocks without a reader; with O_WRONLY it would die of SIGPIPE.
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, names[0], os.O_RDWR, 0),
                (os.POSIX_SPAWN_OPEN, 2, names[1], os.O_RDWR, 0) if names[1:] else (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=ALL_SIGNALS,
        )
    except OSError as error:
        # One errno for all that posix_spawn does: no process or memory to be had is not the program's fault.
        setup = error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
        raise LaunchError("setup" if setup else "exec", error) from error
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise LaunchError("setup", OSError(errno.EINVAL, repr(error))) from error
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, mine)
        os.chdir("/")


def fork_and_exec(message: dict[str, Any], names: list[str], nofile: tuple[int, int]) -> int:
    """Do as `spawn` does, by a real fork: the child changes itself before it executes the program."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as pipe:
        try:
            child = os.fork()
            if child == 0:
                failure = NO_MEMORY
                try:
                    exec_job(message, names, nofile, writer)
                except LaunchError as error:
                    failure = encode({"step": error.step, "errno": error.errno}).encode()
                finally:
                    os.write(writer, failure)
                    os._exit(1)
        except OSError as error:
            raise LaunchError("setup", error) from error
        finally:
            os.close(writer)
        report = pipe.read()  # nothing if execve has succeeded
    if not report:
        return child
    os.waitpid(child, 0)
    failure = json.loads(report)
    raise LaunchError(failure["step"], OSError(failure["errno"], os.strerror(failure["errno"])))


def exec_job(message: dict[str, Any], names: list[str], nofile: tuple[int, int], report: int) -> None:
    """Turn this child into the job; return only by LaunchError. What it may not do any more, it does first."""
    step = "setup"
    try:
        os.setsid()
        reset_signals()
        open_streams(names, report)
        if message.get("umask") is not None:
            os.umask(message["umask"])
        if message.get("nice") is not None:
            os.setpriority(os.PRIO_PROCESS, 0, message["nice"])
        resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
        for name, limit in (message.get("rlimits") or {}).items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), tuple(limit))
        step = "user"
        if message.get("user"):
            change_user(**message["user"])
        step = "cwd"
        os.chdir(message["cwd"])
        step = "exec"
        argv, env = message["argv"], message["env"]
        os.execve(find_program(argv[0], env.get("PATH", os.defpath)), argv, env)
    except OSError as error:
        short = step == "exec" and error.errno in (errno.EAGAIN, errno.ENOMEM)
        raise LaunchError("setup" if short else step, error) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise LaunchError("setup", OSError(errno.EINVAL, repr(error))) from error


def reset_signals() -> None:
    """Have all signals do what they do by default, and none be blocked."""
    signal.set_wakeup_fd(-1)
    for number in ALL_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def open_streams(names: list[str], report: int) -> None:
    """Have 0, 1 and 2 open, by names that only this user can reach, and besides them only `report`."""
    streams = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)]
    streams += [os.open(name, os.O_RDWR | os.O_CLOEXEC) for name in names]
    for fd, stream in enumerate([*streams, streams[-1]][:3]):
        os.dup2(stream, fd)
    os.closerange(3, report)
    os.closerange(report + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def can_change_user() -> bool:
    """Whether a child can become any user: root in a container may lack what that takes."""
    return os.geteuid() == 0 and all(capabilities() >> number & 1 for number in (CAP_SETGID, CAP_SETUID, CAP_SETPCAP))


def change_user(uid: int, gid: int, groups: list[int]) -> None:
    """Become this user for good: with none of our groups and, but for root, without capabilities, now or later."""
    if uid:
        drop_bounding_set()
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise OSError(errno.EINVAL, f"{uid}:{gid} is not what a process can be")  # -1 changes nothing
    if uid:
        drop_capabilities()


def run_as() -> None:
    """Execute a command as another user, on its own; all about it is read from 0, an errno is written to 1."""
    asked = json.load(sys.stdin)
    report = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        os.dup2(null, fd)
    try:
        reset_signals()
        change_user(**asked["user"])
        os.chdir(asked["cwd"])
        argv, env = asked["argv"], asked["env"]
        os.execve(find_program(argv[0], env.get("PATH", os.defpath)), argv, env)
    except OSError as error:
        os.write(report, str(error.errno).encode())
        sys.exit(1)
