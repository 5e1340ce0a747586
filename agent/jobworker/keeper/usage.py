"""What a job has used by the time its main process ended: by its groups, else by what the kernel kept of the process.

Without a group memory is the peak of the largest single process, not of all together, and only the main process and
the children that were waited for are counted.
"""

from typing import Any

from jobworker.keeper.job import Job
from jobworker.keeper.state import State
from jobworker.linux.proc import TICKS_PER_SECOND, stat_of
from jobworker.linux.syscalls import Rusage
from jobworker.linux.usage import KINDS, NAMES, Values, group_usage

BLOCK = 512  # bytes that ru_inblock and ru_oublock count


def usage_of(state: State, job: Job, used: Rusage | None = None) -> dict[str, Any]:
    """Return the fields of `usage` in the record `ended`: those that are known, and in `source` how, by kind.

    `used` is what the kernel kept of our child.
    """
    roots = v1_roots(state) if job.limited else {}
    ours = job.group == state.cgroups.group(job.id)
    values, sources = group_usage(job.id, job.group, roots, kinds=state.cgroups.counted if ours else KINDS)
    if job.pidfd < 0:  # our child, not reaped yet
        own = _of_process(job.pid, used)
        for kind, names in NAMES.items():
            found = {name: own[name] for name in names if name in own}
            if kind not in sources and found:
                values |= found
                sources[kind] = "rusage"
    return {**values, "source": sources}


def v1_roots(state: State) -> dict[str, str]:
    """Return by kind the folder of the jobs' groups of cgroup v1."""
    limits = state.limits
    return {kind: root for kind, root in limits.roots.items() if not limits.in_cgroup(kind)}


def _of_process(pid: int, usage: Rusage | None) -> Values:
    """Return what an ended child and those that it had waited for have used."""
    if usage is None:
        stat = stat_of(pid)
        ticks = [int(stat[11]) + int(stat[13]), int(stat[12]) + int(stat[14])]
        return _times(*(count / TICKS_PER_SECOND for count in ticks))
    return _times(usage.user, usage.system) | _sizes(usage)


def _times(user: float, system: float) -> Values:
    return {"cpu_seconds": round(user + system, 6), "cpu_user": user, "cpu_system": system}


def _sizes(usage: Rusage) -> Values:
    return {
        "memory_peak": usage.peak,
        "io_read_bytes": usage.blocks_read * BLOCK,
        "io_write_bytes": usage.blocks_written * BLOCK,
    }
