"""Read from /proc the state of a process and of the host."""

import errno
import os
from collections.abc import Iterator

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MARKER = "JOBWORKER_JOB_ID"  # in the environment of a job: its id
PF_FORKNOEXEC = 0x40  # in field [6] of `stat_of`: a child that has not reached its execve
LISTINGS = 10  # times at most that /proc is listed for new pids, in one walk over all processes


def boot_id() -> str:
    """Return the random id of this boot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name.

    [0] is the state, [1] the parent, [3] the session, [6] the flags, [11] to [14] CPU ticks (user, system, and both
    of reaped children), [17] the number of threads, [19] the start in ticks after boot, [21] the resident pages.
    """
    return named_stat_of(pid)[1]


def named_stat_of(pid: int) -> tuple[str, list[str]]:
    """Return the name of a process, and `stat_of` it."""
    # Read twice for each job: open() would take three times as long as os.open.
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        head, _, tail = os.read(fd, 4096).rpartition(b")")  # the name may contain parentheses
    finally:
        os.close(fd)
    return head.partition(b"(")[2].decode(errors="replace"), tail.decode().split()


def start_of(pid: int) -> int:
    """Return when a process started, in ticks after boot; pid and start together identify a process."""
    return int(stat_of(pid)[19])


def open_pidfd(pid: int) -> int:
    """Return a pidfd of a process; raise ProcessLookupError if it has ended and was reaped."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        # The answer of older kernels (6.1) if a process group or a session still has the number.
        if error.errno == errno.EINVAL:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
        raise


def is_alive(pid: int) -> bool:
    """Whether the process runs. A zombie still runs if it has other threads."""
    try:
        return not has_ended(stat_of(pid))
    except OSError:
        return False


def is_stopped(pid: int) -> bool:
    """Whether a process that was sent SIGSTOP stands still.

    All of its threads are stopped, traced or dead, or wait in the kernel ("D") and will stop before they go on.
    """
    try:
        return all(stat_of(int(thread))[0] in "TtXZD" for thread in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return True  # it has ended


def has_ended(stat: list[str]) -> bool:
    """Whether the process with this `stat_of` has ended; of a zombie with threads only the first thread has."""
    return stat[0] == "X" or (stat[0] == "Z" and int(stat[17]) <= 1)


def pids() -> Iterator[int]:
    """Yield all pids, then new ones, a few times: a process that keeps forking and exiting changes its pid."""
    seen: set[str] = set()
    for _ in range(LISTINGS):
        fresh = [entry for entry in os.listdir("/proc") if entry.isdigit() and entry not in seen]
        if not fresh:
            return
        seen.update(fresh)
        yield from map(int, fresh)


def user_of(pid: int) -> int:
    """Return the effective uid of a process; raise OSError. The owner of /proc/PID may be root in its place."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[2]) for line in file if line.startswith("Uid:"))


def namespace_pids(pid: int) -> list[int]:
    """Return the pids of a process in all its pid namespaces, ours first; [] if it is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((list(map(int, line.split()[1:])) for line in file if line.startswith("NSpid:")), [])
    except OSError:
        return []


def group_of(pid: int | str) -> str:
    """Return the path of the cgroup v2 of a process, as /proc has it; "" if it has none. Raise OSError."""
    with open(f"/proc/{pid}/cgroup") as file:
        return next((line[3:].strip() for line in file if line.startswith("0::")), "")


def capabilities() -> int:
    """Return the effective capabilities of this process; bit N is the capability with the number N."""
    with open("/proc/self/status") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), 0)


def children_of(pid: int) -> set[int]:
    """Return the pids of the children that the first thread of a process has started; raise OSError."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return {int(child) for child in file.read().split()}
