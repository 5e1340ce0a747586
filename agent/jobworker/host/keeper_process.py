"""Start the process of a keeper, and end what is left of one that died."""

import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path

from jobworker.formats.code import checksum
from jobworker.host.process_tree import process_of
from jobworker.host.procfs import ProcReader, run_with_stuck_guard
from jobworker.linux.features import WITHOUT
from jobworker.linux.proc import PF_FORKNOEXEC, pids, stat_of
from jobworker.paths import Home, appendable

KEEPER = Path(__file__).parents[1] / "keeper" / "__main__.py"


def program_checksum() -> int:
    """Return the checksum of the keeper's program as it is on disk; another one asks for an upgrade."""
    return checksum(str(KEEPER.parents[1]))


def keeper_command(home: Home, run: Path) -> list[str]:
    """Return the command of a keeper; its last two words identify the state folder."""
    return [sys.executable, "-I", "-S", str(KEEPER), str(home.path), str(run)]


def start_keeper(home: Home, run: Path, path: str) -> int:
    """Start a keeper on a socket that listens already, so that a client need not wait; return its pid."""
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(8)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.posix_spawn(
            sys.executable,
            keeper_command(home, run),
            {"PATH": os.defpath} | {name: os.environ[name] for name in (WITHOUT,) if name in os.environ},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, listener.fileno(), 3),
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, appendable(home.keeper_log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
        )


def end_remains(home: Home, run: Path, *, only_children: bool = False) -> None:
    """Kill what is left of a dead keeper: children that hang before their execve, and hold its lock. Blocking.

    They are known by their command line, which is the keeper's until the execve succeeds. With `only_children`,
    processes that have executed a program, as a keeper itself has, are left alone.
    """
    run_with_stuck_guard(partial(_end_remains, home, run, only_children))


def _end_remains(home: Home, run: Path, only_children: bool, reader: ProcReader) -> None:
    for pid in pids():
        try:
            if only_children and not int(stat_of(pid)[6]) & PF_FORKNOEXEC:
                continue
            if not _is_keeper(pid, home, run, reader):
                continue
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if _is_keeper(pid, home, run, reader):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(pidfd)


def _is_keeper(pid: int, home: Home, run: Path, reader: ProcReader) -> bool:
    """Whether a process has the command line of a keeper of this state folder, of whatever version."""
    if (process := process_of(pid)) is None:
        return False
    words = reader.read(pid, process.start, "cmdline").split(b"\0")[:-1]
    return words[-2:] == [os.fsencode(home.path), os.fsencode(run)] and words[1:3] == [b"-I", b"-S"]
