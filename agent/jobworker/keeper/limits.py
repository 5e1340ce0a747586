"""What a job may use at most: by the controllers of cgroup v2 in its own cgroup, or of v1 in groups beside it.

A limit has a kind: `memory` (bytes), `pids`, `cpus` (may be a fraction), `io` ({"read", "write"}: bytes a second by
device as `MAJ:MIN`, or "" for the disk under a folder).
"""

import errno
import os
from typing import Any

from jobworker.keeper import limits_v1, limits_v2
from jobworker.keeper.cgroups import Cgroups
from jobworker.linux import cgroupfs

CONTROLLERS = {"memory": "memory", "pids": "pids", "cpus": "cpu", "io": "io"}  # by kind
OPTIONAL = ("memory.swap.max", "memory.memsw.limit_in_bytes")  # missing on a kernel that does not count swap


class Limits:
    """The kinds that this host can limit."""

    def __init__(self, cgroups: Cgroups, name: str, *, v1: bool = True) -> None:
        """Take what there is in the cgroups, and for the rest groups of v1 if those may be made."""
        self.roots: dict[str, str] = {}  # by kind: the folder of the jobs' groups
        self.missing: dict[str, str] = {}  # by kind: why it cannot be limited
        self._v1: set[str] = set()  # kinds that are limited by groups of v1, beside the job's cgroup
        for kind, controller in CONTROLLERS.items():
            why = cgroups.controllers.get(controller, cgroups.missing)
            if not why:
                self.roots[kind] = cgroups.root
            elif v1 and kind != "io" and (found := limits_v1.make_root(controller, name)):
                self.roots[kind] = found
                self._v1.add(kind)
            else:
                self.missing[kind] = why

    def give_up(self, kind: str, why: str) -> None:
        """Do without a kind: a trial showed that it does not work here."""
        del self.roots[kind]
        self.missing[kind] = why

    def in_cgroup(self, kind: str) -> bool:
        """Whether the limit holds in the job's own cgroup of v2."""
        return kind in self.roots and kind not in self._v1

    def prepare(self, job: str, limits: dict[str, Any]) -> None:
        """Make the job's groups, in which no limit holds yet. Raise OSError."""
        for kind in limits:
            if kind not in self.roots:
                raise OSError(errno.ENOSYS, f"limit {kind}: {self.missing.get(kind, 'unknown')}")
            if kind in self._v1:
                os.makedirs(f"{self.roots[kind]}/{job}", exist_ok=True)
        if "memory" in limits and self.in_cgroup("memory"):
            # At its limit the kernel ends all of the job, and not one process of it for which others wait.
            cgroupfs.write(f"{self.roots['memory']}/{job}/memory.oom.group", "1")

    def apply(self, job: str, limits: dict[str, Any], *, more: int = 0) -> None:
        """Have limits hold, or those that are None no more; `more` processes of ours are among the job's.

        Raise OSError with file, value and reason.
        """
        for kind, value in limits.items():
            group = f"{self.roots[kind]}/{job}"
            total = value + more if kind == "pids" and value is not None else value
            version = limits_v1 if kind in self._v1 else limits_v2
            for name, text in version.values(kind, total, group):
                if name not in OPTIONAL or os.path.exists(f"{group}/{name}"):
                    cgroupfs.write(f"{group}/{name}", text)

    def enter(self, job: str, limits: dict[str, Any]) -> None:
        """Step into the job's groups of v1."""
        for kind in limits:
            if kind in self._v1:
                cgroupfs.write(f"{self.roots[kind]}/{job}/cgroup.procs", "0")

    def enter_all(self, job: str) -> None:
        """Step into the groups of v1 that a job has."""
        for kind in self._v1:
            if os.path.isdir(f"{self.roots[kind]}/{job}"):
                cgroupfs.write(f"{self.roots[kind]}/{job}/cgroup.procs", "0")

    def killed(self, job: str) -> bool:
        """Whether the kernel has killed a process of the job because its memory was at the limit."""
        name = "memory.events" if self.in_cgroup("memory") else "memory.oom_control"
        lines = cgroupfs.read(f"{self.roots.get('memory', '')}/{job}/{name}").splitlines()
        return any(line.split()[0] == "oom_kill" and int(line.split()[1]) > 0 for line in lines)

    def remove(self, job: str) -> None:
        """Remove the job's groups of v1."""
        for kind in self._v1:
            try:
                os.rmdir(f"{self.roots[kind]}/{job}")
            except OSError:
                continue

    def remove_all(self) -> None:
        """Remove the groups of v1 that hold those of the jobs."""
        for kind in self._v1:
            try:
                os.rmdir(self.roots[kind])
            except OSError:
                continue
