"""Limits by the controllers of cgroup v1: a group for each controller, beside the job's cgroup of v2."""

import os
import sys
from typing import Any

from jobworker.linux import cgroupfs
from jobworker.linux.departure import OURS

CPU_PERIOD = 100000  # us, the kernel's default, in which a quota holds


def values(kind: str, value: Any, group: str) -> list[tuple[str, str]]:
    """Return the files of the group to write, and what; None stands for no limit."""
    if kind == "memory":
        text = "-1" if value is None else str(value)
        files = [("memory.limit_in_bytes", text), ("memory.memsw.limit_in_bytes", text)]
        raises = value is None or value > int(cgroupfs.read(f"{group}/memory.limit_in_bytes") or 0)
        return files[::-1] if raises else files  # the limit without swap may never be above that with it
    if kind == "pids":
        return [("pids.max", "max" if value is None else str(value))]
    return [("cpu.cfs_quota_us", "-1" if value is None else str(int(value * CPU_PERIOD)))]


def make_root(controller: str, name: str) -> str:
    """Make the group that is to hold those of the jobs, and try it; return its folder, "" if that cannot be."""
    base = own_folder(controller)
    if not base:
        return ""
    root = f"{base}/jobworker-{name}"
    try:
        home = os.open(f"{base}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        os.makedirs(f"{root}/probe", exist_ok=True)
        cgroupfs.write(f"{root}/probe/cgroup.procs", "0")
        os.write(home, b"0")
        os.close(home)
        os.rmdir(f"{root}/probe")
    except OSError as error:
        print(f"jobs get no groups of the controller {controller}: {error.strerror}", file=sys.stderr, flush=True)
        return ""
    return root


def own_folder(controller: str) -> str:
    """Return the folder of our own group under a controller; "" if it is not mounted."""
    with open("/proc/self/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    own = next((path for _, names, path in lines if controller in names.split(",")), "")
    own = OURS.sub("", own)  # if a job of another agent started this one: not in its group
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            root, mount = fields.split()[3:5]
            if rest.startswith("cgroup ") and controller in rest.split()[2].split(","):
                return mount + own.removeprefix(root.rstrip("/")).rstrip("/")
    return ""
