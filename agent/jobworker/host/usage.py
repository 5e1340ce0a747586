"""Measure what a job uses now: by the counters of its cgroups, and by its processes for what those do not count."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from jobworker.host.process_tree import Process
from jobworker.host.procfs import ProcReader, run_with_stuck_guard
from jobworker.linux.devices import disk_of, disk_under
from jobworker.linux.proc import TICKS_PER_SECOND, stat_of
from jobworker.linux.usage import Sources, Values, group_usage, memory_floor

__all__ = ["MEASURED", "counted", "disk_of", "disk_under", "looked_at", "measured", "memory_floor", "missing"]

MEASURED = {
    "cpu": "cpu_seconds",
    "memory": "memory",
    "pids": "pids",
    "io": "io_read_bytes",
}  # of its processes, by kind
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MAX_LISTED = 1000  # processes of a job that are listed, those with the most CPU time first


def counted(job: str, group: str, v1: Mapping[str, str]) -> tuple[Values, Sources]:
    """Return the counters of a job's cgroups, and the source of each kind; see `group_usage`."""
    return group_usage(job, group, v1, live=True)


def missing(sources: Sources) -> set[str]:
    """Return the kinds that have to be measured by the processes."""
    return MEASURED.keys() - sources.keys()


def measured(processes: Sequence[Process], kinds: set[str]) -> Values:
    """Return what these processes use now, of these kinds, without what ended ones have used. Blocking.

    Memory is the sum of resident memory: pages that processes share count for each.
    """
    return run_with_stuck_guard(partial(_measure, processes, kinds))


def _measure(processes: Sequence[Process], kinds: set[str], reader: ProcReader) -> Values:
    rows = [row for process in processes if (row := _row(process))]
    values: Values = {}
    if "cpu" in kinds:
        user, system = (sum(row[name] for row in rows) for name in ("user", "system"))
        values |= {"cpu_seconds": round(user + system, 2), "cpu_user": user, "cpu_system": system}
    if "memory" in kinds:
        values["memory"] = sum(row["memory"] for row in rows)
    if "pids" in kinds:
        values["pids"] = sum(row["threads"] for row in rows)
    if "io" in kinds:
        values |= _transferred(processes, reader)
    return values


def looked_at(processes: Iterable[Process], described: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what `described` has of each process, with its CPU time, resident memory and threads."""
    rows = []
    for process, words in zip(processes, described, strict=True):
        if row := _row(process):
            cpu = round(row["user"] + row["system"], 2)
            rows.append({**words, "cpu_seconds": cpu, "memory": row["memory"], "threads": row["threads"]})
    return sorted(rows, key=lambda row: (-row["cpu_seconds"], row["pid"]))[:MAX_LISTED]


def _row(process: Process) -> dict[str, Any]:
    """Return what /proc/PID/stat has of a process; nothing if it has ended."""
    try:
        fields = stat_of(process.pid)
    except OSError:
        return {}
    if int(fields[19]) != process.start:
        return {}
    user, system = (sum(int(fields[at]) for at in pair) / TICKS_PER_SECOND for pair in ((11, 13), (12, 14)))
    return {"user": user, "system": system, "memory": int(fields[21]) * PAGE_BYTES, "threads": int(fields[17])}


def _transferred(processes: Iterable[Process], reader: ProcReader) -> Values:
    """Return the bytes read from and written to disks; nothing if one of the processes may not be read."""
    read = written = 0
    for process in processes:
        try:
            text = reader.read(process.pid, process.start, "io").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            return {}
        counts = dict(line.split(": ") for line in text.splitlines())
        read += int(counts["read_bytes"])
        written += int(counts["write_bytes"])
    return {"io_read_bytes": read, "io_write_bytes": written}
