"""Read what the kernel has counted for the cgroups of a job, from files of v2 and of v1."""

import os
from collections.abc import Collection, Mapping

NAMES = {  # by kind: the values that one controller counts
    "cpu": ("cpu_seconds", "cpu_user", "cpu_system"),
    "memory": ("memory_peak",),
    "pids": ("pids_peak",),
    "io": ("io_read_bytes", "io_write_bytes"),
}
KINDS = frozenset({"memory", "pids", "io"})  # counted by controllers that a group may lack
PEAKS = {"memory": ("memory.peak", "memory.max_usage_in_bytes"), "pids": ("pids.peak", "pids.peak")}  # in v2, in v1
CURRENT = {"memory": ("memory.current", "memory.usage_in_bytes"), "pids": ("pids.current", "pids.current")}
# Cached files, which the kernel can drop, in memory.stat of v2 and of v1.
RECLAIMABLE = (("inactive_file", "active_file"), ("total_inactive_file", "total_active_file"))
LONGEST = 65536  # bytes that are read of a file: a counter file is shorter

Values = dict[str, int | float]
Sources = dict[str, str]  # by kind: "cgroup", "cgroup-v1"


def folders(
    job: str, group: str, v1: Mapping[str, str], kinds: Collection[str] = KINDS
) -> dict[str, tuple[str, bool]]:
    """Return by kind the folder that has the job's counters, and whether it belongs to v1.

    `group` is the job's cgroup v2 ("": it has none); `v1` has, by kind, the folder above the groups of all jobs.
    `kinds` are those that the cgroup v2 may count.
    """
    found = {}
    for kind in ("memory", "pids", "io"):
        if kind in v1:
            found[kind] = (f"{v1[kind]}/{job}", True)
        elif group and kind in kinds:
            found[kind] = (group, False)
    return found


def group_usage(
    job: str, group: str, v1: Mapping[str, str], *, live: bool = False, kinds: Collection[str] = KINDS
) -> tuple[Values, Sources]:
    """Return what the job has used, and by kind which cgroup counted it; with `live` also what it uses now.

    In seconds, bytes and tasks (processes and their threads). Values that nothing counts are absent.
    """
    values: Values = {}
    sources: Sources = {}
    if group and (times := _pairs(f"{group}/cpu.stat")):
        names = ("usage_usec", "user_usec", "system_usec")
        values |= {to: times[name] / 1e6 for to, name in zip(NAMES["cpu"], names, strict=True) if name in times}
        sources["cpu"] = "cgroup"
    for kind, (folder, old) in folders(job, group, v1, kinds).items():
        if kind == "io":
            found = {} if old else _bytes_of_devices(folder)
        else:
            found = _read({f"{kind}_peak": PEAKS[kind][old]} | ({kind: CURRENT[kind][old]} if live else {}), folder)
        if found:
            values |= found
            sources[kind] = "cgroup-v1" if old else "cgroup"
    return values, sources


def memory_floor(job: str, group: str, v1: Mapping[str, str]) -> int | None:
    """Return roughly the bytes of memory that the kernel cannot reclaim from the job: all but cached files.

    None if nothing counts its memory.
    """
    folder, old = folders(job, group, v1).get("memory", ("", False))
    used = _number(f"{folder}/{CURRENT['memory'][old]}") if folder else None
    if used is None:
        return None
    counts = _pairs(f"{folder}/memory.stat")
    return max(used - sum(counts.get(name, 0) for name in RECLAIMABLE[old]), 0)


def _read(files: Mapping[str, str], folder: str) -> Values:
    numbers = {name: _number(f"{folder}/{file}") for name, file in files.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _bytes_of_devices(folder: str) -> Values:
    """Return the sums of `io.stat` over all devices; empty if the controller io is not available."""
    try:
        lines = _text(f"{folder}/io.stat").splitlines()
    except OSError:
        return {}
    read = written = 0
    for line in lines:
        counts = dict(pair.split("=") for pair in line.split()[1:] if pair.count("=") == 1)
        read += int(counts.get("rbytes", 0))
        written += int(counts.get("wbytes", 0))
    return {"io_read_bytes": read, "io_write_bytes": written}


def _pairs(path: str) -> dict[str, int]:
    """Return the lines `name number` of a file as a dict; empty if it cannot be read."""
    try:
        words = _text(path).split()
        return dict(zip(words[::2], map(int, words[1::2]), strict=True))
    except (OSError, ValueError):
        return {}


def _number(path: str) -> int | None:
    try:
        return int(_text(path))
    except (OSError, ValueError):
        return None


def _text(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # several files at each exit, and open() takes three times as long
    try:
        return os.read(fd, LONGEST).decode()
    finally:
        os.close(fd)
