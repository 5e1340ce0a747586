"""A cgroup v2 for each job, where this process was given one to make them in."""

import os
import resource
import time

from jobworker.keeper.delegation import NotDelegatedError, find_base
from jobworker.keeper.moves import Moves
from jobworker.linux import cgroupfs
from jobworker.linux.proc import group_of
from jobworker.linux.usage import KINDS

CONTROLLERS = ("memory", "io", "pids", "cpu")  # in this order: see _enable


class Cgroups:
    """The cgroups of all jobs are the children of `root`; it is "" if jobs get none, and `missing` has the reason."""

    def __init__(self, name: str, description: str, *, refused: str = "") -> None:
        """Take the cgroup that was delegated to us, unless it is `refused` for this reason."""
        self.root = ""  # a folder
        self.missing = ""  # why jobs get no cgroup, and what to change
        self.controllers: dict[str, str] = {}  # by name: "" if it is enabled for the jobs, else why it is not
        self.counted: frozenset[str] = frozenset()  # kinds of usage that the cgroups of jobs count, besides cpu
        self.clones = False  # a process can be born in a cgroup by clone3; a trial found that out
        self.spawns = False  # so can one that posix_spawn starts
        self.moves = Moves()  # decides when to step into a group
        self._home = -1  # to write to: back to where this process belongs
        self._hierarchy = None if refused else cgroupfs.find_hierarchy()
        if refused:
            self.missing = refused
            return
        if self._hierarchy is None:
            self.missing = "no cgroup v2 is mounted that shows the agent's own group: mount cgroup2 at /sys/fs/cgroup"
            return
        try:
            base = find_base(self._hierarchy, name, description)
            root = f"{base.folder}/jobworker-{name}"
            os.makedirs(root, exist_ok=True)
            self._home = os.open(f"{base.leaf}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        except NotDelegatedError as error:
            self.missing = str(error)
            return
        except OSError as error:
            self.missing = f"{error.filename or ''} {error.strerror or error}".strip()
            return
        self.root = root
        for controller in CONTROLLERS:
            self.controllers[controller] = base.why_no_controllers or _enable(controller, base.folder, root)
        self._see_counted()
        self._clear()

    def _see_counted(self) -> None:
        """Learn which files of usage the cgroups of jobs have: to look for others at each exit would take longer."""
        self.counted = KINDS & {*cgroupfs.read(f"{self.root}/cgroup.subtree_control").split()}

    def make(self, group: str) -> None:
        """Make the cgroup of a job; raise OSError."""
        try:
            os.mkdir(group, 0o755)
        except FileNotFoundError:  # the group of all jobs was removed while there was no job
            os.mkdir(self.root, 0o755)
            for controller, why in self.controllers.items():
                if not why:
                    cgroupfs.write(f"{self.root}/cgroup.subtree_control", f"+{controller}")
            self._see_counted()
            os.mkdir(group, 0o755)

    def give_up(self, why: str) -> None:
        """Do without cgroups: a trial showed that they do not work here."""
        self.remove_all()
        self.root, self.missing, self.controllers = "", why, {}

    def group(self, job: str) -> str:
        """Return the folder of the cgroup that a job is to get; "" if it gets none."""
        return f"{self.root}/{job}" if self.root else ""

    def path(self, group: str) -> str:
        """Return what /proc/PID/cgroup shows of a process in this group."""
        return self._hierarchy.path(group) if self._hierarchy else ""

    def find(self, job: str, pid: int) -> str:
        """Return the folder of a job's cgroup by a process of the job; "" if the process is in none of that name."""
        try:
            head, name, _ = group_of(pid).partition(f"/{job}")
        except OSError:
            return ""
        return self._hierarchy.folder(head + name) if name and self._hierarchy else ""

    def enter(self, group: str) -> None:
        """Step into a group: what is spawned then is born in it. Raise OSError."""
        began = time.monotonic()
        cgroupfs.write(f"{group}/cgroup.procs", "0")
        self.moves.stepped_in(time.monotonic() - began)

    def leave(self) -> None:
        """Step out of it."""
        os.write(self._home, b"0")
        self.moves.stepped_out()

    def remove_all(self) -> None:
        """Remove the group that holds those of the jobs, and what a predecessor left in it."""
        if self.root:
            cgroupfs.remove(self.root)

    def _clear(self) -> None:
        """Remove in a process beside this one what a predecessor left: that may be thousands of empty groups."""
        stale = [entry.path for entry in os.scandir(self.root) if entry.is_dir()]
        if not stale or os.fork():
            return
        try:
            # Our socket too: if we are killed, the next agent must not connect to a process that does not answer.
            os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            for group in stale:
                if "oom_kill 0" not in (cgroupfs.read(f"{group}/memory.events") or "oom_kill 0"):
                    continue  # the reason of an exit that the journal does not have yet
                try:
                    os.rmdir(group)
                except OSError:
                    continue  # a process of a running job is in it
        finally:
            os._exit(0)  # whatever happened: this process must never go on as a second keeper


def _enable(controller: str, base: str, root: str) -> str:
    """Have the children of `root` get a controller; return why they cannot, or "".

    The domain controllers come first: the kernel refuses them while a process is in the cgroup itself. The
    threaded ones it would take, and then no process could be started in any of the children.
    """
    if controller not in cgroupfs.read(f"{base}/cgroup.controllers").split():
        return f"the host gives {base} no controller {controller}"
    if cgroupfs.pids_in(base) and not cgroupfs.is_real_root(base):
        return f"there are processes in {base} itself"
    try:
        for folder in (base, root):
            cgroupfs.write(f"{folder}/cgroup.subtree_control", f"+{controller}")
    except OSError as error:
        return error.strerror or str(error)
    return ""
