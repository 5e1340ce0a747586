"""Change the limits of a job that runs. The kernel has them: they outlive keeper and agent."""

import errno
import os
from typing import Any

from jobworker.keeper.job import Job
from jobworker.keeper.state import State
from jobworker.linux import cgroupfs


class Limiting:
    """The operation `limit`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def limit(self, message: dict[str, Any]) -> dict[str, Any]:
        """Have `limits` hold: values by kind, None takes one away. `before` holds again if one is refused.

        Answer `gone` if the job is not held any more, `missing` with a kind that has no group for this job, or
        `refused` with the reason and `errno`: then nothing was changed.
        """
        job = self._state.jobs.get(message["id"])
        if job is None or job.ended:
            return {"gone": True}
        if job.launching:
            return {"refused": "it is being launched", "errno": errno.EAGAIN}
        limits, before = message["limits"], message["before"]
        for kind in limits:
            if not self._has_group(job, kind):
                return {"missing": kind}
        try:
            self._apply(job, limits)
        except OSError as error:
            try:
                self._apply(job, {kind: before.get(kind) for kind in limits})
            except OSError:  # the first reason is the one to report
                pass
            return {"refused": error.strerror or str(error), "errno": error.errno}
        return {}

    def _has_group(self, job: Job, kind: str) -> bool:
        """Whether the job is in a group for this kind; on v1 it is only if it was started with such a limit."""
        limits = self._state.limits
        group = f"{limits.roots.get(kind)}/{job.id}"
        return group == job.group if limits.in_cgroup(kind) else os.path.isdir(group)

    def _apply(self, job: Job, limits: dict[str, Any]) -> None:
        if limits.get("io") is not None:
            self._state.limits.apply(job.id, {"io": None})  # what holds for other devices, and the other way
        self._state.limits.apply(job.id, limits, more=1 if job.init else 0)
        if limits.get("memory") is not None and self._state.limits.in_cgroup("memory"):
            cgroupfs.write(f"{job.group}/memory.oom.group", "1")  # as of one that was started with the limit
