"""A job that is not over yet, in memory: its record, who waits for news of it, and its tree."""

import asyncio
from pathlib import Path

from jobworker.host.process_tree import CgroupTree, NamespaceTree, SweepTree, Tree
from jobworker.jobs.record import JobRecord
from jobworker.model import Reason, Receipt, State


class ActiveJob:
    """`record` is replaced as a whole; whoever waits is told by `ring`."""

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.holders = 0  # how many hold on to it
        self.starting = False
        self.deleted = False  # from then on nobody may begin anything with it
        self.pausing = asyncio.Lock()
        self.updating = asyncio.Lock()  # held from the check of a change until it is recorded
        self.stop: asyncio.Task[Receipt] | None = None
        self.limits: list[asyncio.Task[None]] = []  # one watches each
        self.fallback = False  # whether the default is watched in place of a limit that failed
        self.watch: int | None = None  # in inotify
        self.waiters: set[asyncio.Event] = set()

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
        """Whether it has ended and, where a stop ended it, that has written its receipt."""
        exit_ = self.record.job.exit
        if exit_ is None:
            return False
        return self.stop is None or exit_.reason not in (Reason.STOPPED, Reason.TIMEOUT, Reason.SHUTDOWN)

    def notify(self) -> None:
        for wakeup in self.waiters:
            wakeup.set()

    async def wait_changed(self) -> None:
        """Wait for the next news: of the job, or of its log where that is followed."""
        wakeup = asyncio.Event()
        self.waiters.add(wakeup)
        try:
            await wakeup.wait()
        finally:
            self.waiters.discard(wakeup)

    def tree(self) -> Tree:
        main = self.record.job.pid or 0
        if self.record.init:
            return NamespaceTree(self.record.init, self.record.init_start, main, self.record.start, self.group())
        return self.group() or SweepTree(self.id, main, self.record.start)

    def init(self) -> list[int] | None:
        """Return pid and start of the init of the job's namespace, as the keeper wants them."""
        return [self.record.init, self.record.init_start] if self.record.init else None

    def group(self) -> CgroupTree | None:
        return CgroupTree(Path(self.record.group)) if self.record.group else None

    async def gone(self) -> None:
        """Wait until the main process and all others of the tree are gone."""
        while not self.record.job.state.final:
            await self.wait_changed()
        await self.tree().wait_empty()
