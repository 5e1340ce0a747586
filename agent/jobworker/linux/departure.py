"""Leave the cgroups of the job that a process was started in."""

import errno
import re

from jobworker.linux import cgroupfs

LEAF = "agent.leaf"  # below a delegated cgroup: agent, keeper and pump, and the processes that were there before
OURS = re.compile(rf"/(jobworker-(\d+-)?[0-9a-f]{{12}}|{LEAF})(/.*)?$")  # what agents make below a delegated cgroup
JOB = re.compile(r"/jobworker-(\d+-)?[0-9a-f]{12}/[0-9a-z]{12}(/.*)?$")  # the cgroup of a job, and those below it


def leave_job() -> list[str]:
    """Move this process out of each cgroup that is a job's; return why it stays in some, one text for each.

    It goes to where the keeper of that job is: what it starts from now on is no part of the job.
    """
    refused = []
    with open("/proc/self/cgroup") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in lines:
        if JOB.search(path):
            try:
                _move_to(controllers.split(","), OURS.sub("", path))
            except OSError as error:
                refused.append(f"{path}: {error.strerror or error}")
    return refused


def _move_to(controllers: list[str], path: str) -> None:
    """Move this process to the group of this path, in the hierarchy with these controllers ("" alone: cgroup v2)."""
    folder = _folder(controllers, path)
    if not controllers[0] and not cgroupfs.is_real_root(folder):
        folder = f"{folder}/{LEAF}"  # of v2: where jobs get controllers, no process may be in the group above them
    cgroupfs.write(f"{folder}/cgroup.procs", "0")


def _folder(controllers: list[str], path: str) -> str:
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            kind, _, options = rest.split()[:3]
            root, mount = fields.split()[3:5]  # see proc_pid_mountinfo(5)
            is_it = kind == "cgroup2" if not controllers[0] else set(controllers) <= set(options.split(","))
            if is_it and (folder := cgroupfs.Hierarchy(mount, root).folder(path or "/")):
                return folder
    raise OSError(errno.ENOENT, "its hierarchy is not mounted")
