"""What /proc shows of a process and of the host."""

import os

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MARKER = "JOBWORKER_JOB_ID"  # in the environment of a job: its id


def boot_id() -> str:
    """Return the id that the kernel draws at each boot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: [0] is the state, [19] the start in ticks."""
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)  # twice a job: open() takes three times as long
    try:
        return os.read(fd, 4096).rpartition(b")")[2].decode().split()
    finally:
        os.close(fd)


def start_of(pid: int) -> int:
    """Return when a process started, in ticks after boot: it tells the process from a later one of the same pid."""
    return int(stat_of(pid)[19])


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie whose other threads run does."""
    try:
        fields = stat_of(pid)
    except OSError:
        return False
    return fields[0] not in "ZX" or (fields[0] == "Z" and int(fields[17]) > 1)  # only its first thread has ended


def group_of(pid: int | str) -> str:
    """Return the path of a process in the hierarchy of cgroup v2, as /proc shows it; "" if it has none."""
    with open(f"/proc/{pid}/cgroup") as file:
        return next((line[3:].strip() for line in file if line.startswith("0::")), "")


def capabilities() -> int:
    """Return the effective capabilities of this process, a bit for each by its number."""
    with open("/proc/self/status") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), 0)


def children_of(pid: int) -> set[int]:
    """Return the children that the first thread of a process has."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return {int(child) for child in file.read().split()}
