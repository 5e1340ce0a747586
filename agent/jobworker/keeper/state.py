"""What the keeper holds: the jobs, their pids and pipes, the journal, the host's means. No socket."""

import os
import resource

from jobworker.keeper.cgroups import Cgroups
from jobworker.keeper.confinement import find_private_tmp, find_sandbox
from jobworker.keeper.job import Job
from jobworker.keeper.journal import Journal
from jobworker.keeper.limits import Limits
from jobworker.keeper.namespace import find_namespace
from jobworker.keeper.quick import QuickPath
from jobworker.keeper.trial import try_out
from jobworker.linux import cgroupfs
from jobworker.linux.starts import StartClock

# At most, in the pump: two pipes, or both ends of one and a terminal; two files, an index; three for its input.
DESCRIPTORS_PER_JOB = 9
ENGINE = "the engine that has started this job confines it"
OWN_DESCRIPTORS = 64  # of the keeper itself, and for a moment


class State:
    """One keeper's jobs; every other part of the keeper works on it."""

    def __init__(self, state_folder: str, run_folder: str, *, one_job: bool = False) -> None:
        """Find out what this host has. With `one_job`, none of it is used: an engine has placed this process."""
        self.folder = state_folder
        self.unreachable = False  # an agent cannot connect: the socket was removed
        self._fifo_folder = -1  # a descriptor of the folder of FIFOs; -1: it was not looked at yet
        self.use_run_folder(run_folder)
        self.journal = Journal(f"{state_folder}/journal")
        self.jobs: dict[str, Job] = {}  # by id: all whose end or end of output is still to come
        self.pids: dict[int, Job] = {}  # by main process: our children
        self.adopted: dict[int, Job] = {}  # by pidfd: children of a keeper that died
        self.inits: dict[int, Job] = {}  # by pid: our children that are the init of a job's namespace
        self.launches: dict[str, Job] = {}  # by id: those of which it is not known yet if their launch succeeds
        self.launch_pids: dict[int, Job] = {}  # by pid: our children that belong to such a launch
        # By pid: id and cgroup of a launch that failed, whose child was killed and hangs in the kernel.
        self.stuck: dict[int, tuple[str, str]] = {}
        self.ending: set[int] = set()  # inits that have been killed and are not gone yet
        self.pump_pid = 0
        self.exit_owed = False  # a child has ended and the journal did not take its status
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.nofile = (soft, hard)  # what jobs get; we ourselves take all there is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.room = (hard - OWN_DESCRIPTORS) // DESCRIPTORS_PER_JOB  # jobs that keeper and pump can hold
        os.makedirs(self.fifo, 0o700, exist_ok=True)
        name = os.path.basename(run_folder).removeprefix("jobworker-")
        description = f"jobs of the jobworker agent on {state_folder}"
        self.cgroups = Cgroups(name, description, refused=ENGINE if one_job else "")
        self.limits = Limits(self.cgroups, name, v1=not one_job)
        self.quick = QuickPath()
        self.clock = StartClock()
        self.trial_seconds = 0.0
        self.sandbox: list[str] = []  # its parts that work here
        self.private_tmp = False  # a job can have a /tmp of its own
        self.namespace = ""  # the kind that works here
        self.no_sandbox = self.no_private_tmp = self.no_namespace = ENGINE  # why not, or not all
        if one_job:
            return
        self.trial_seconds = try_out(self.cgroups, self.limits)  # what was found above is believed after this
        self.sandbox, self.no_sandbox = find_sandbox(state_folder)
        self.private_tmp, self.no_private_tmp = find_private_tmp()
        self.namespace, self.no_namespace = find_namespace()

    def own_children(self) -> set[int]:
        """Return our children that are no process left behind by a job."""
        return {*self.pids, *self.inits, *self.launch_pids, *self.stuck, self.pump_pid}

    def use_run_folder(self, folder: str) -> None:
        """Have new sockets and FIFOs in this folder."""
        self.run_folder = folder
        self.fifo = f"{folder}/fifo"
        self.release_fifo()

    def hold_fifo(self) -> None:
        """Keep the folder of FIFOs open, which shows without a lookup whether it is still there."""
        self.release_fifo()
        self._fifo_folder = os.open(self.fifo, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def holds_fifo(self) -> bool:
        """Whether the folder that was looked at last was not removed."""
        return self._fifo_folder >= 0 and os.fstat(self._fifo_folder).st_nlink > 0

    def release_fifo(self) -> None:
        """Have the folder looked at again before the next launch."""
        if self._fifo_folder >= 0:
            os.close(self._fifo_folder)
            self._fifo_folder = -1

    def forget_if_done(self, job: Job) -> None:
        """Drop a job once it has ended and its output is closed."""
        if job.ended and job.closed:
            del self.jobs[job.id]

    def remove_groups(self, job: str, group: str, *, limited: bool = True) -> bool:
        """Remove a job's groups; return whether its cgroup is gone, which takes the end of its last process.

        `limited`: whether it may have groups of cgroup v1 as well.
        """
        if limited:
            self.limits.remove(job)
        return not group or cgroupfs.remove(group)
