"""What a job may use at most: by the controllers of cgroup v2 in its own cgroup, or of v1 in groups beside it."""

import os
import sys
from typing import Any

from jobworker.keeper.cgroups import Cgroups

LIMIT_FILES = {  # by kind: what is written in v2 and in v1, in order
    "memory": (("memory.max", "memory.swap.max"), ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
    "pids": (("pids.max",), ("pids.max",)),
    "cpus": (("cpu.max",), ("cpu.cfs_quota_us",)),
}
NO_LIMIT = {"memory": ("max", "-1"), "pids": ("max", "max"), "cpus": ("max", "-1")}
CPU_PERIOD = 100000  # us, in which a quota holds


class Limits:
    """What a job may use at most, by the controllers of cgroup v2 in its own cgroup, or of v1 in groups beside it."""

    def __init__(self, cgroups: Cgroups, name: str) -> None:
        self.roots: dict[str, str] = {}  # by kind: where the jobs' groups are
        self.homes: dict[str, int] = {}  # of v1: where this process belongs
        self.cgroups = cgroups
        for kind in LIMIT_FILES:
            controller = "cpu" if kind == "cpus" else kind
            if cgroups.root and self._enable(controller):
                self.roots[kind] = cgroups.root
            else:
                self._find_v1(kind, controller, name)

    def _enable(self, controller: str) -> bool:
        """Whether the jobs' own cgroups have the controller, once it has been asked for."""
        for folder in (os.path.dirname(self.cgroups.root), self.cgroups.root):
            try:
                with open(f"{folder}/cgroup.subtree_control", "wb", buffering=0) as file:
                    file.write(f"+{controller}".encode())
            except OSError:
                return False
        return True

    def _find_v1(self, kind: str, controller: str, name: str) -> None:
        base = v1_folder(controller)
        if not base:
            return
        root = f"{base}/jobworker-{name}"
        try:
            home = os.open(f"{base}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            os.makedirs(f"{root}/probe", exist_ok=True)
            Cgroups.enter(f"{root}/probe")
            os.write(home, b"0")
            os.rmdir(f"{root}/probe")
        except OSError as error:
            print(f"jobs get no limit of {kind} under {base}: {error}", file=sys.stderr, flush=True)
            return
        self.roots[kind], self.homes[kind] = root, home

    def prepare(self, job: str, limits: dict[str, Any]) -> None:
        """Make the job's groups and see that the kernel takes the values, which do not hold yet."""
        for kind in limits:
            if kind in self.homes:
                os.makedirs(f"{self.roots[kind]}/{job}", exist_ok=True)
        self.apply(job, limits)
        for kind in limits:
            v1 = kind in self.homes
            for name in reversed(LIMIT_FILES[kind][v1]):
                self._write(f"{self.roots[kind]}/{job}/{name}", NO_LIMIT[kind][v1])

    def apply(self, job: str, limits: dict[str, Any], *, more: int = 0) -> None:
        """Have the limits hold; `more` processes of ours are among the job's. Raise OSError, or KeyError."""
        for kind, value in limits.items():
            v1 = kind in self.homes
            texts = [str(value)] * 2
            if kind == "pids":
                texts = [str(value + more)]
            elif kind == "cpus":
                quota = str(int(value * CPU_PERIOD))
                texts = [quota if v1 else f"{quota} {CPU_PERIOD}"]
            elif not v1:
                texts = [str(value), "0"]
            for name, text in zip(LIMIT_FILES[kind][v1], texts, strict=True):
                self._write(f"{self.roots[kind]}/{job}/{name}", text)

    @staticmethod
    def _write(path: str, text: str) -> None:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if os.path.basename(path) in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
                return  # a kernel that does not count swap
            raise
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def enter(self, job: str, limits: dict[str, Any]) -> None:
        for kind in limits:
            if kind in self.homes:
                Cgroups.enter(f"{self.roots[kind]}/{job}")

    def leave(self, limits: dict[str, Any]) -> None:
        for kind in limits:
            if kind in self.homes:
                os.write(self.homes[kind], b"0")

    def killed(self, job: str) -> bool:
        """Whether the kernel has killed a process of the job because its memory was at the limit."""
        name = "memory.oom_control" if "memory" in self.homes else "memory.events"
        try:
            with open(f"{self.roots.get('memory')}/{job}/{name}") as file:
                return any(line.split()[0] == "oom_kill" and int(line.split()[1]) > 0 for line in file)
        except OSError:
            return False

    def remove(self, job: str) -> None:
        for kind in self.homes:
            try:
                os.rmdir(f"{self.roots[kind]}/{job}")
            except OSError:
                continue

    def remove_all(self) -> None:
        for kind in self.homes:
            try:
                os.rmdir(self.roots[kind])
            except OSError:
                continue


def v1_folder(controller: str) -> str:
    """Return the folder of our own group under a controller of cgroup v1; "" where it is not there."""
    with open("/proc/self/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    own = next((path for _, names, path in lines if controller in names.split(",")), "")
    own = own.partition("/jobworker-")[0]  # started by another agent's job: not in its group
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            root, mount = fields.split()[3:5]
            if rest.startswith("cgroup ") and controller in rest.split()[2].split(","):
                return mount + own.removeprefix(root.rstrip("/")).rstrip("/")
    return ""
