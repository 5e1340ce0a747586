"""Reconcile the job table with the host: keep a keeper running, apply its journal, and adopt jobs when it dies.

The journal is read in one way only, whether the keeper wrote an entry a moment ago or while no agent was running.
"""

import asyncio
import contextlib
import errno
import json
import logging
import time
from pathlib import Path

from jobworker import state_lock
from jobworker.errors import DiskFull, JobworkerError, ShuttingDown
from jobworker.host.journal import Journal, JournalEntry, Launching, Started, StartFailed
from jobworker.host.journal_feed import JournalFeed
from jobworker.host.keeper_link import KeeperGone, KeeperLink
from jobworker.host.keeper_process import end_remains, last_line
from jobworker.host.process_tree import init_process, main_process
from jobworker.host.reaper import Reaper, ended_in
from jobworker.jobs import lifecycle
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.forgetting import Forgetting
from jobworker.jobs.input_waits import InputWaits
from jobworker.jobs.orphans import rebuild_record
from jobworker.jobs.power_cut import checked_since, repair_log
from jobworker.jobs.record import JobRecord
from jobworker.jobs.secrets import Secrets
from jobworker.jobs.snapshot import RESTORED
from jobworker.jobs.spec_rules import Specs
from jobworker.jobs.stops import StopManager
from jobworker.jobs.table import JobTable
from jobworker.jobs.time_limits import TimeLimits
from jobworker.model import State
from jobworker.paths import Home
from jobworker.tasks import Background

log = logging.getLogger(__name__)

MAX_FAILED_KEEPERS = 3  # in a row that died before they held all jobs: the cause will not pass at once
QUIT_SECONDS = 5.0  # for the last output to be written; a process that escaped may hold its pipe for ever
RETRY_SECONDS = 1.0  # between two attempts to start a keeper


class Reconciler:
    """Keeps a keeper running, and the records in agreement with its journal."""

    def __init__(
        self,
        home: Home,
        run: Path,
        specs: Specs,
        secrets: Secrets,
        table: JobTable,
        link: KeeperLink,
        stops: StopManager,
        time_limits: TimeLimits,
        waits: InputWaits,
        tasks: Background,
        *,
        durable: bool,
    ) -> None:
        self._home = home
        self._run = run
        self._specs = specs
        self._secrets = secrets
        self._table = table
        # The lock names the folder of the last agent too, but a copy may be without it.
        home.copied_from = home.copied_from or state_lock.copied_from(
            home.path, json.loads(table.meta("place", "{}"))
        )
        if home.copied_from:
            _set_aside(home.journal, home.copied_from)
            table.set_meta("journal", 0)
        # Entries that no agent read before a reboot are of the boot before: their pids belong to other processes now.
        noted = table.meta("journal", 0)
        self._journal = Journal(home.journal, noted, table.meta("journal_boot", ""))
        if (
            self._journal.position != noted
        ):  # else the next agent would begin at the old position, in the middle of new entries
            table.set_meta("journal", self._journal.position)
        self._forgetting = Forgetting(self._journal, table)
        self._feed = JournalFeed(self._journal, home.logs, self._apply_all, durable=durable)
        self._link = link
        self._stops = stops
        self._time_limits = time_limits
        self._waits = waits
        self._tasks = tasks
        self._boot = table.boot
        # Why the jobs that ran are lost, if this state folder was made of a backup; "" after the first agent on it.
        self._restored: str = table.meta(RESTORED, "")
        self._reaper: Reaper | None = None
        self._closing = False  # the end of the keeper is expected
        self._unrecorded: dict[str, Launching] = {}  # launches of jobs without a record, by id
        self._failed_keepers = 0  # in a row, see MAX_FAILED_KEEPERS
        self.keepers_lost = 0  # in all, for the metrics
        self._stuck = False  # the keeper before this one hung in a launch
        link.on_news(self._feed.read, self._lost)

    async def open(self) -> None:
        """Connect to the keeper, adopt the running jobs, and resume their stops and time limits."""
        self._reaper = Reaper(self._child_ended)
        try:
            await self._begin()
        except JobworkerError as error:
            if not self._home.read_only():
                raise
            log.error("%s can only be read: jobs and logs are served, nothing is started: %s", self._home.path, error)
        for active in self._table:
            if active.record.job.state.final and active.record.process.left and active.record.remote is None:
                self._stops.end_leftovers(active)
            elif active.record.stop.request is not None and not active.record.job.state.final:
                self._stops.continue_stop(active, active.record.stop.request)
            elif active.record.job.state in (State.RUNNING, State.PAUSED):
                # Frozen and not yet paused: an agent died during a pause.
                if active.record.pause.frozen and active.record.job.state == State.RUNNING:
                    self._tasks.spawn(self._stops.pausing.resume(active))
                self._time_limits.watch(active)
                self._waits.watch(active)

    async def _begin(self) -> None:
        try:
            await self._connect()
        except KeeperGone:
            await self._link.ready()  # of the next keeper

    async def _connect(self) -> None:
        self._stuck = self._link.stuck
        await self._link.open()
        await self._feed.read_all()
        restarted = self._table.meta("boot", self._boot) != self._boot
        ended = self._table.newest_end() if restarted else ""
        await self._take_over()
        if restarted:
            await self._check_logs(ended)
        self._restored = ""
        self._table.set_meta(RESTORED, "")
        self._table.set_meta("boot", self._boot)
        self._table.set_meta("place", json.dumps({"boot": self._boot, **state_lock.place(self._home.path)}))
        if self._reaper is not None:
            self._reaper.look()
        self._link.set_ready(True)

    def _apply_all(self, events: list[JournalEntry], boot: str, position: int) -> None:
        """Apply entries of the journal, which end at `position`; `boot`: their boot id, "" for this boot."""
        boot = boot or self._boot
        for event in events:
            if isinstance(event, Launching):
                self._forgetting.launching(event.id)
            active = self._table.reload(event.id)
            if active is not None:
                self._apply(active, event, boot)
                self._forgetting.applied(active)
            elif boot == self._boot:
                self._without_record(event)
        self._table.set_meta("journal", position)
        self._table.set_meta("journal_boot", boot)
        if self._forgetting.due(position):
            self._tasks.spawn(self._forgetting.forget())

    def _apply(self, active: ActiveJob, event: JournalEntry, boot: str) -> None:
        was = active.record.job.state
        record = lifecycle.advance(active.record, event, boot)
        if active.stop is None:  # else that stop writes the receipt
            record = lifecycle.interrupted(record)
        self._table.save(active, record, lazy=True)
        if boot == self._boot:  # else its processes are gone, and their pids belong to others
            self.applied(active, was)

    def _without_record(self, event: JournalEntry) -> None:
        """Handle an entry of a job without a record: it was deleted, or it runs and the table was lost."""
        if isinstance(event, Launching):
            self._unrecorded[event.id] = event
            return
        launching = self._unrecorded.pop(event.id, None)
        if launching is None or not isinstance(event, Started):
            return
        if (record := rebuild_record(launching, event)) is not None:
            log.error("job %s runs and has no record: it gets a new one, with the owner `unknown`", event.id)
            active = self._table.insert(record)
            self._apply(active, launching, self._boot)
            self._apply(active, event, self._boot)

    def applied(self, active: ActiveJob, was: State) -> None:
        """Begin and end what goes with the state of a job, after a change from the state `was`."""
        state = active.record.job.state
        if state == State.RUNNING and was in (State.CREATED, State.QUEUED):
            self._time_limits.watch(active)
            self._waits.watch(active)
        if state.final and not was.final:
            active.drop_limits()
            if active.record.process.left and active.stop is None and active.record.remote is None:
                self._stops.end_leftovers(active)

    # When the keeper dies

    def _lost(self) -> None:
        if self._closing:
            return
        if self._link.holding:
            self._link.set_ready(False)
            self._failed_keepers = 0
        else:
            self._failed_keepers += 1
        self.keepers_lost += 1
        log.error("the keeper has ended; starting another")
        pause = 0.0
        if self._failed_keepers >= MAX_FAILED_KEEPERS:
            why = f"no keeper can be started: {last_line(self._home.keeper_log)}".removesuffix(": ")
            self._link.set_ready(DiskFull(why, hint=f"see {self._home.keeper_log}"))
            pause = RETRY_SECONDS
        self._feed.read(None)
        self._tasks.spawn(self._reconnect(pause))

    async def _reconnect(self, pause: float) -> None:
        await self._link.dead()
        await asyncio.to_thread(end_remains, self._home, self._run)
        await asyncio.sleep(pause)
        while True:
            try:
                await self._connect()
                return
            except KeeperGone:
                return  # of this one as well: _lost() was called
            except (OSError, JobworkerError) as error:
                log.error("no keeper could be started, trying again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _take_over(self) -> None:
        """Have the keeper adopt every job that may still run or write; a job that it cannot find is lost."""
        for active in self._table:
            record = active.record
            over = record.job.state.final and record.log.closed
            announced = bool(record.process.boot)  # in state `created`: an agent was about to launch it
            waits = active.is_created() and not record.process.launching
            if (waits and not announced) or (over and not record.process.left):
                continue
            if self._home.copied_from:
                why = f"this state folder is a copy of {self._home.copied_from}, whose agent has the job's processes"
                self._table.save(active, lifecycle.lost(record, why, time.time_ns(), closed=True))
                continue
            if record.remote is not None:
                continue  # no keeper has it
            if record.process.boot != self._boot:
                # The size of an open log stays unknown: `_check_logs` takes a known one for what is on the disk.
                why = self._restored or "the host was restarted"
                self._table.save(active, lifecycle.lost(record, why, time.time_ns(), closed=True))
                continue
            if waits:
                if not active.starting:  # an agent died before its request to the keeper
                    self._table.save(active, record.with_process(boot=""))
                continue
            if over:
                continue
            if record.process.launching:
                await self._find_launched(active)
                record = active.record
            pid, ended = record.job.pid or 0, record.job.state.final
            signalled = record.stop.request is not None  # the keeper before may have signalled it
            answer = await self._link.ask(
                "adopt",
                id=active.id,
                pid=pid,
                start=record.process.start,
                ended=ended,
                struck=signalled,
                init=active.init(),
                group=record.process.group,
                secrets=self._secrets.path_of(active.id, record.job.spec),
                **self._specs.plan_of(active).stream_message(),
            )
            if answer.get("gone") and record.process.launching and self._stuck:
                event = StartFailed(time.time_ns(), active.id, "exec", errno.ETIMEDOUT)
                self._table.save(active, lifecycle.start_failed(active.record, event))
                self.applied(active, State.CREATED)
            elif answer.get("gone") and not active.record.job.state.final:
                why = "its keeper died, and it is not known how the job ended or whether it began"
                self._table.save(active, lifecycle.lost(active.record, why, time.time_ns()))
                self.applied(active, State.CREATED)
            if answer.get("closed") and not active.record.log.closed:
                self._table.save(active, self._table.as_it_is(active.record).with_log(closed=True))
        self._home.copied_from = ""  # the jobs that are started from now on are ours

    async def _check_logs(self, ended: str) -> None:
        """After a restart of the host, check the logs of jobs that were running or had ended shortly before.

        `ended`: when the last job ended before the restart.
        """
        for record in await self._table.ended_since(checked_since(ended)):
            if record.process.boot != self._boot and record.remote is None:
                await self._check_log(record)

    async def _check_log(self, record: JobRecord) -> None:
        """Repair a log after a power cut, and record its new end."""
        before = record.job.log
        now = await asyncio.to_thread(
            repair_log, self._table.log_folder(record.job.id), before, written=bool(self._restored)
        )
        if now == before:
            return
        if now.truncated:
            log.warning("job %s: its log lost bytes in the power cut, and has %d", record.job.id, now.bytes)
        async with self._table.held(record.job.id) as active:
            self._table.save(active, active.record.with_job(log=now))

    async def _find_launched(self, active: ActiveJob) -> None:
        """Look for the process of a launch whose outcome is not in the journal, alive or not yet reaped."""
        group = active.record.process.group
        members = await active.tree().members()
        if active.record.process.namespace and (init := init_process(members)) is not None:
            members.remove(init)
            self._table.save(active, active.record.with_process(init=init.pid, init_start=init.start))
        main = (group and ended_in(group, self._link.former)) or main_process(members)
        if main is not None:
            boottime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            self._table.save(
                active, lifecycle.found_running(active.record, main.pid, main.start, time.time_ns(), boottime)
            )
            self.applied(active, State.CREATED)

    async def _child_ended(self, pid: int, code: int | None, number: int | None) -> bool:
        """Hand the status of an inherited job to the keeper; return whether the process may be reaped."""
        ours = (active for active in self._table if active.record.remote is None)
        candidates = [active for active in ours if active.record.job.pid == pid]
        # Pids are reused, soon in a container: an ended job with this pid may be in memory while its log is open.
        active = next((active for active in candidates if not active.record.job.state.final), None)
        if not candidates and not self._link.holding:
            return False  # perhaps of a launch whose keeper died before it wrote the pid
        if active is None:
            return True  # an orphan, or a keeper
        try:
            return bool((await self._link.ask("exited", id=active.id, code=code, signal=number))["taken"])
        except JobworkerError:
            return False  # the next keeper will get it

    async def close(self, *, restart: bool, finish: bool) -> None:
        """Ask the keeper to end, at once if it has no job, else after the last one; not for a restart.

        `finish`: wait for its end, at most QUIT_SECONDS; a container ends with its agent, output in pipes and all.
        """
        self._closing = True
        self._link.set_ready(ShuttingDown("the agent is ending"))
        if not restart:
            with contextlib.suppress(JobworkerError):
                await self._link.ask("quit")
                if finish:
                    await self._link.left(QUIT_SECONDS)
        self._link.close()
        self._feed.close()
        self._journal.close()


def _set_aside(journal: Path, origin: str) -> None:
    """Rename the journal of a state folder that is a copy: what it has of processes is of those of the first one."""
    log.error("this state folder is a copy of %s: its jobs are lost here, and their processes not touched", origin)
    with contextlib.suppress(FileNotFoundError):
        journal.rename(journal.with_name(f"{journal.name}.copied"))
