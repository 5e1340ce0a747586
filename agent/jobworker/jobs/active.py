"""A job that the agent keeps in memory: its record, the tasks that work on it, and its process tree."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from jobworker.host.process_tree import CgroupTree, NamespaceTree, Process, Tree
from jobworker.host.strays import StrayTree
from jobworker.host.sweep import ALONE, Neighbours, SweepTree, unattributed
from jobworker.jobs.plan import LaunchPlan
from jobworker.jobs.record import JobRecord
from jobworker.jobs.remote.job import RemoteJob, RemoteTree
from jobworker.model import Reason, Receipt, State


class ActiveJob:
    """`record` is replaced as a whole by `JobTable.save`, which then wakes the waiters."""

    def __init__(self, record: JobRecord, neighbours: Callable[[], Neighbours] = lambda: ALONE) -> None:
        self.record = record
        self._neighbours = neighbours  # returns what else runs on the host and is no part of this job
        self.plan: LaunchPlan | None = None  # made by `Specs.plan_of` when it is first needed
        self.holders = 0  # calls that need it in memory, see `JobTable.acquire`
        self.starting = False  # a start is under way
        self.deleted = False  # it is being deleted: nothing may begin with it any more
        self.pausing = asyncio.Lock()  # held while the tree is paused or resumed
        self.updating = asyncio.Lock()  # held from the check of a change until it is recorded
        self.remote: RemoteJob | None = None  # of a job that an executor runs: what was seen of it
        self.stop: asyncio.Task[Receipt] | None = None  # the stop that is under way
        self.limits: list[asyncio.Task[None]] = []  # one task for each time limit
        self.fallback = False  # the default time limit is watched in place of one that failed
        self.waits: set[asyncio.Event] = set()  # set when it begins or ceases to wait for its input
        self.waiting_since = 0.0  # while it waits for its input: since when, seconds on CLOCK_BOOTTIME
        self.watch: int | None = None  # the number of the inotify watch on its log folder
        self.silent = False  # its log is followed, and has no folder yet: there is nothing to read
        self.waiters: set[asyncio.Event] = set()  # set when the record or a followed log changes
        self._strays: StrayTree | None = None  # once a process was seen outside the job's cgroup

    @property
    def id(self) -> str:
        return self.record.job.id

    def drop_limits(self) -> None:
        for task in self.limits:
            task.cancel()
        self.limits = []
        self.fallback = False

    def is_created(self) -> bool:
        return self.record.job.state == State.CREATED

    def has_final_exit(self) -> bool:
        """Whether it has ended and, if a stop ended it, the stop has written its receipt."""
        exit_ = self.record.job.exit
        if exit_ is None:
            return False
        return self.stop is None or exit_.reason not in (Reason.STOPPED, Reason.TIMEOUT, Reason.SHUTDOWN)

    def notify(self) -> None:
        """Wake everything that waits for a change of the job."""
        for wakeup in self.waiters:
            wakeup.set()

    async def wait_changed(self) -> None:
        """Wait for the next change of the record or, if the log is followed, of the log."""
        wakeup = asyncio.Event()
        self.waiters.add(wakeup)
        try:
            await wakeup.wait()
        finally:
            self.waiters.discard(wakeup)

    def tree(self) -> Tree:
        """Return the process tree, by the strongest way of finding it that the job has."""
        if self.record.remote is not None:
            return RemoteTree(self, self.remote)
        main, process = self.record.job.pid or 0, self.record.process
        if process.init:
            return NamespaceTree(process.init, process.init_start, main, process.start, self.group())
        if (grouped := self._strays or self.group()) is not None:
            return grouped
        uid = os.geteuid() if self.record.identity is None else self.record.identity.uid
        return SweepTree(self.id, main, process.start, self._neighbours, uid)

    async def has_strays(self) -> bool:
        """Look for processes that have left the job's cgroup; `tree` has them from then on."""
        group = self.group()
        if group is None or self.record.process.init:
            return False
        tree = self._strays or StrayTree(group, self.record.job.pid or 0, self.record.process.start, self._neighbours)
        strays = await tree.strays()
        if strays:
            self._strays = tree
        return bool(strays)

    async def unattributed(self) -> list[Process]:
        """Return the processes that may be the job's and are known to be of no other, if its tree is swept for."""
        if self.tree().method != "sweep":
            return []
        return await asyncio.to_thread(unattributed, self.id, self.record.process.start, self._neighbours())

    def init(self) -> list[int] | None:
        """Return pid and start of the init of the job's namespace, for the keeper; None without a namespace."""
        process = self.record.process
        return [process.init, process.init_start] if process.init else None

    def group(self) -> CgroupTree | None:
        return CgroupTree(Path(self.record.process.group)) if self.record.process.group else None

    async def gone(self) -> None:
        """Wait until the main process and all others of the tree are gone."""
        while not self.record.job.state.final:
            await self.wait_changed()
        await self.tree().wait_empty()
