"""Read what the kernel knows of a process, and print what was measured."""

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

CPUCLOCK_SCHED = 2  # of the kernel's <linux/posix-timers.h>


def private_memory(pid: int) -> int:
    """Return the bytes that would be free if the process were gone."""
    fields = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    return fields["Private_Clean"] + fields["Private_Dirty"]


def cpu_seconds(pid: int) -> float:
    """Return how long a process has been on a processor so far, in user and system mode."""
    return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)  # clock_getcpuclockid(3): in ns, where /proc counts 10 ms


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def forget_peak(pid: int) -> int:
    """Set the peak of the resident memory back to what is resident now, and return that, in bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _fields(Path(f"/proc/{pid}/status"))["VmRSS"]


def peak_memory(pid: int) -> int:
    """Return the most that was resident since `forget_peak`, in bytes."""
    return _fields(Path(f"/proc/{pid}/status"))["VmHWM"]


def _fields(path: Path) -> dict[str, int]:
    """Return the sizes in a file of /proc (``Name:  123 kB``) in bytes."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}


def median_and_range(values: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratio(values: Sequence[float], limits: Sequence[float]) -> str:
    """Return the median of the ratios, round by round: what disturbs the machine disturbs both."""
    return f"{statistics.median(value / limit for value, limit in zip(values, limits, strict=True)):.2f}"


def table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells, the first of them the heads of the columns, the first column to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        print("  " + "   ".join(cells), flush=True)
