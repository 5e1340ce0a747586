"""What this host gives a local agent that does not run yet: its state folder, cgroups, and whether it would start."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator

from jobworker import resources
from jobworker.errors import JobworkerError
from jobworker.paths import Home
from jobworker.private import require_private, require_trusted
from jobworker_cli.doctor import budgets
from jobworker_cli.doctor.finding import NOTE, OK, WRONG, Finding, of_error

CHECK_SECONDS = 60.0
ERROR = "jobworker: error: "  # begins the line that has why an agent would not start
FEW_FILES = 1024


def state_folder(home: Home) -> Finding:
    """Return whether the state folder is there, and ours alone."""
    try:
        require_trusted(home.path.parent)
        if not home.path.exists():
            return Finding("state folder", OK, f"{home.path} does not exist yet: the first agent makes it")
        require_private(home.path)
        if not os.access(home.path, os.R_OK | os.W_OK | os.X_OK):
            return Finding("state folder", WRONG, f"{home.path} cannot be written", f"ls -ld {home.path}; mount")
    except (JobworkerError, OSError) as error:
        return of_error("state folder", error, "set JOBWORKER_HOME to a folder of your own")
    return Finding("state folder", OK, f"{home.path}, of this user alone")


def without_agent(home: Home) -> Iterator[Finding]:
    """Yield what can be seen while no agent runs."""
    yield _agent(home)
    yield _start(home)
    yield _cgroup()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 0 <= files < FEW_FILES
    limit = "unlimited" if files == resource.RLIM_INFINITY else f"{files:,}"
    yield Finding("descriptors", NOTE if few else OK, f"{limit} open files", "ulimit -Hn 4096" if few else "")
    place = Home(next(folder for folder in (home.path, *home.path.parents) if folder.exists()))
    measured = resources.measure(place)
    yield from budgets.disk(
        {
            "state": str(place.path),
            "read_only": measured.read_only,
            "disk": {"used": measured.disk_used, "limit": measured.disk},
            "inodes": {"used": measured.inodes_used, "limit": measured.inodes},
        }
    )
    yield budgets.inotify({"used": measured.inotify_used, "limit": measured.inotify})


def _agent(home: Home) -> Finding:
    """Return that no agent runs: what is wrong if the last one was a service."""
    try:
        unit, manager = json.loads(home.address.read_bytes())["unit"]
    except (OSError, ValueError, KeyError, TypeError):
        return Finding("agent", NOTE, "no agent runs; the first `jw run` starts one", "jw agent start")
    hint = f"systemctl --{manager} start {unit}; its log: journalctl --{manager} -u {unit}"
    return Finding("agent", WRONG, f"the agent is the service {unit}, which does not run", hint)


def _start(home: Home) -> Finding:
    """Return whether an agent would start, with the configuration and the plugins that are there now."""
    command = [sys.executable, "-P", "-m", "jobworker", "--home", str(home.path), "--local", "--check"]
    try:
        checked = subprocess.run(command, capture_output=True, check=False, timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return Finding(
            "start", WRONG, f"the check of the agent did not end in {CHECK_SECONDS:g} s", " ".join(command)
        )
    if not checked.returncode:
        return Finding("start", OK, "an agent would start with the configuration and the plugins of now")
    text = checked.stderr.decode(errors="replace").strip()
    reason, _, hint = text.rpartition(ERROR)[2].partition("\nhint: ")
    return Finding("start", WRONG, f"an agent would not start: {reason[-1000:]}", hint or " ".join(command))


def _cgroup() -> Finding:
    """Return whether there is a cgroup v2 in which an agent of this user can make groups for jobs."""
    hint = "jw agent install --systemd, or start the agent in a cgroup with Delegate=yes"
    folder, ours = resources.own_group()
    if not folder:
        return Finding("cgroup", NOTE, "cgroup v2 is not mounted: a stop searches for the processes of a job", hint)
    if ours:
        return Finding("cgroup", OK, f"{folder} is delegated to this user")
    return Finding("cgroup", NOTE, f"{folder} is not delegated to this user: a stop searches for processes", hint)
