"""Start the program of a job by posix_spawn, which returns when the child has executed it."""

import errno
import os
import resource
from typing import Any

from jobworker.keeper.child import LaunchError
from jobworker.linux.inheritance import try_new_session_keyring
from jobworker.linux.spawn_into import GroupError, spawn_into
from jobworker.linux.syscalls import ALL_SIGNALS

SHORT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # no process, memory or descriptor is available


def require_valid(message: dict[str, Any]) -> None:
    """Raise LaunchError unless argv, environment and folder are what execve and chdir take."""
    try:
        argv, env = message["argv"], message["env"]
        words = [message["cwd"], *argv, *env, *env.values()]
        if not isinstance(argv, list) or not argv or b"\0" in b"".join(map(os.fsencode, words)):
            raise ValueError(words[:1])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LaunchError("setup", OSError(errno.EINVAL, repr(error))) from error


def spawn(program: str, message: dict[str, Any], names: list[str], nofile: tuple[int, int], group: str = "") -> int:
    """Start the program in a new session with nothing open but 0, 1 and 2; raise LaunchError.

    `names` are the files of its streams; with two names, 2 is the same as 1. The job's folder is the current one.
    With `group`, it is born in that cgroup; raise GroupError if it cannot be.
    """
    # The job opens its FIFOs O_RDWR: it blocks without a reader; with O_WRONLY it would die of SIGPIPE.
    # Its input has a writer by now, so that to open it does not wait for one.
    streams = [(fd, name, os.O_RDWR if fd else os.O_RDONLY) for fd, name in enumerate(names)]
    try:
        try_new_session_keyring()  # which the child shares with this process, until the next launch
        resource.setrlimit(resource.RLIMIT_NOFILE, nofile)  # inherited: what the job gets
        if group:
            return spawn_into(group, program, message["argv"], message["env"], streams)
        return os.posix_spawn(
            program,
            message["argv"],
            message["env"],
            file_actions=[
                *((os.POSIX_SPAWN_OPEN, *stream, 0) for stream in streams),
                *([] if names[2:] else [(os.POSIX_SPAWN_DUP2, 1, 2)]),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=ALL_SIGNALS,
        )
    except GroupError:
        raise
    except OSError as error:
        # One errno for all that posix_spawn does: a lack of processes or memory is not the program's fault.
        raise LaunchError("setup" if error.errno in SHORT else "exec", error) from error
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (nofile[1], nofile[1]))  # this process takes all there is
