"""Start the process of a keeper, and end what is left of one that died."""

import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

from jobworker import state_lock
from jobworker.formats.code import checksum
from jobworker.host.process_tree import process_of
from jobworker.host.procfs import ProcReader, run_with_stuck_guard
from jobworker.linux import descriptors
from jobworker.linux.features import WITHOUT
from jobworker.linux.proc import PF_FORKNOEXEC, pids, stat_of, user_of
from jobworker.linux.syscalls import ALL_SIGNALS
from jobworker.paths import Home, appendable
from jobworker.private import make_private

FRESH_SECONDS = 10.0  # since a line of one that could not start
LAST_LINE_BYTES = 1000  # that are read of the end of its log
KEEPER = Path(__file__).parents[1] / "keeper" / "__main__.py"


def program_checksum() -> int:
    """Return the checksum of the keeper's program as it is on disk; another one asks for an upgrade."""
    return checksum(str(KEEPER.parents[1]))


def keeper_command(home: Home, run: Path) -> list[str]:
    """Return the command of a keeper; its last two words identify the state folder."""
    return [sys.executable, "-I", "-S", str(KEEPER), str(home.path), str(run)]


def start_keeper(home: Home, run: Path, path: str) -> int:
    """Start a keeper on a socket that listens already, so that a client need not wait; return its pid."""
    make_private(run)
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(8)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with descriptors.original_limit():  # which the keeper passes on to the jobs
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
                setsigdef=ALL_SIGNALS,
            )


def last_line(log: Path) -> str:
    """Return the last line of the log of a keeper that has just ended; "" if that one wrote nothing."""
    try:
        with log.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > FRESH_SECONDS:
                return ""
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_LINE_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def find_keeper(home: Home) -> tuple[int, Path] | None:
    """Return the pid of the keeper that holds the lock of a state folder, and its run folder; None if none runs.

    The keeper of an agent of another version, or of one with another environment, may have another run folder.
    """
    pid, words = _lock_holder(home)
    return (pid, Path(os.fsdecode(words[-1]))) if pid and _is_of(words, home) else None


def find_former_keeper(home: Home) -> int:
    """Return the pid of a keeper that holds the lock under a former name of the state folder; 0 if none does."""
    pid, words = _lock_holder(home)
    is_keeper = words[1:3] == [b"-I", b"-S"] and words[3:4] and words[3].endswith(b"/keeper/__main__.py")
    return pid if is_keeper and not _is_of(words, home) else 0


def _lock_holder(home: Home) -> tuple[int, list[bytes]]:
    """Return the pid and the command line of the process of ours that holds the keeper's lock; 0 and [] if none."""
    try:
        fd = os.open(home.path / "keeper.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0, []
    try:
        pid = state_lock.holder(fd) or 0
    finally:
        os.close(fd)
    return pid, _command_of(pid) if pid else []


def ask_to_listen(pidfd: int, pid: int) -> bool:
    """Have a keeper make a new socket; return False for one of a version before, which SIGHUP would end."""
    try:
        with open(f"/proc/{pid}/status") as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt:"))
        if not caught >> (signal.SIGHUP - 1) & 1:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGHUP)
    except (OSError, StopIteration):
        return False
    return True


def _command_of(pid: int) -> list[bytes]:
    """Return the command line of a process of ours; [] if it is gone or belongs to another user."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")[:-1]
        return words if user_of(pid) == os.geteuid() else []
    except OSError:
        return []


def _is_of(words: list[bytes], home: Home) -> bool:
    """Whether a command line is that of a keeper of this state folder, of whatever version and run folder."""
    return words[-2:-1] == [os.fsencode(home.path)] and words[1:3] == [b"-I", b"-S"]


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
            if not _is_keeper(pid, home, reader):
                continue
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if _is_keeper(pid, home, reader):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(pidfd)


def _is_keeper(pid: int, home: Home, reader: ProcReader) -> bool:
    """Whether a process has the command line of a keeper of this state folder, of whatever version."""
    if (process := process_of(pid)) is None:
        return False
    words = reader.read(pid, process.start, "cmdline").split(b"\0")[:-1]
    return _is_of(words, home)  # of whatever user: a child may have changed to that of its job
