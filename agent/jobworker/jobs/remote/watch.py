"""Watch the jobs of one executor: read their folders, ask the engine once for all of them, and decide."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace

from jobworker.errors import JobNotFound, JobworkerError
from jobworker.executors import Phase, Sighting
from jobworker.host.journal import Ended, Launching, Started
from jobworker.jobs import lifecycle
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.remote import folder
from jobworker.jobs.remote.decide import Seen, Verdict, decide
from jobworker.jobs.remote.executor import EngineCalls
from jobworker.jobs.remote.folder import Gone, Look
from jobworker.jobs.remote.job import RemoteJob
from jobworker.jobs.table import JobTable
from jobworker.model import Queued, State
from jobworker.signal_names import name_of
from jobworker.tasks import Background
from jobworker.units import rfc3339

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25  # between two looks at the folders of jobs that have not begun
RUNNING_SECONDS, RUNNING_JOB_SECONDS, MAX_RUNNING_SECONDS = 0.25, 0.005, 3.0  # the same of all; more for each job
POLL_SECONDS, POLL_JOB_SECONDS, MAX_POLL_SECONDS = 1.0, 0.02, 15.0  # between two requests to the engine, likewise
WORD_TRIES, WORD_SECONDS = 10, 0.5  # to ask the engine why it has ended a job, and between two
SILENT_SECONDS = 5.0  # without a heartbeat, after which the engine is asked about a job that runs
LATE_SECONDS, LATE_LOOK_SECONDS = 3600.0, 5.0  # for which a lost job may report an end, and between two looks for it
STARTS_SECONDS = 60.0  # by which an expected start must move to be recorded
Entries = list[tuple[ActiveJob, Look | None]]


class Watch:
    """All jobs of one executor that may still change. Without any, nothing runs."""

    def __init__(
        self, calls: EngineCalls, table: JobTable, tasks: Background, applied: Callable[[ActiveJob, State], None]
    ) -> None:
        """`applied` is called after each change of a record, with the state before."""
        self._calls = calls
        self._table = table
        self._background = tasks
        self._applied = applied
        self._jobs: dict[str, ActiveJob] = {}
        self._tasks: list[asyncio.Task[None]] = []  # the two loops, while there are jobs
        self.polls = 0  # requests to the engine, for tests

    def add(self, active: ActiveJob) -> None:
        """Watch a job from now on, until nothing of it can change."""
        self._jobs[active.id] = active
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._looking()), asyncio.create_task(self._polling())]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    # The folders

    async def _looking(self) -> None:
        due = 0.0
        while self._jobs:
            began = time.monotonic()
            whole = began >= due
            jobs = list(self._jobs.values())
            if whole:
                due = began + min(RUNNING_SECONDS + len(jobs) * RUNNING_JOB_SECONDS, MAX_RUNNING_SECONDS)
            for active, look in await asyncio.to_thread(_look, jobs, whole=whole):
                try:
                    await self._looked(active, look, began)
                except Exception:
                    log.exception("job %s: what its folder has could not be applied", active.id)
                if active.deleted or not active.record.active:
                    self._jobs.pop(active.id, None)
            await asyncio.sleep(LOOK_SECONDS)
        self.close()

    async def _looked(self, active: ActiveJob, look: Look | None, began: float) -> None:
        remote = active.remote
        if remote is None or look is None or active.deleted:
            return
        note(remote, look)
        self._name_node(active, remote)
        if any(map(_by_engine, look.entries)) and active.record.stop.request is None:
            self._background.spawn(self._ended_by_engine(active, remote, look.entries))
        else:
            for entry in look.entries:
                self._apply(active, entry)
        if look.logged != remote.logged:
            remote.logged, active.silent = look.logged, False
            active.notify()
        if active.record.active and not active.starting:
            seen = Seen(began, remote.claimed, remote.beat_at, remote.absent)
            await self._decided(active, remote, decide(seen))

    def _name_node(self, active: ActiveJob, remote: RemoteJob) -> None:
        """Record the node of a job that a runner has: by the engine's name for it, else by its host's."""
        named = remote.sighting.node if remote.sighting is not None else ""
        node = named or remote.node or None
        if remote.claimed and node != active.record.job.node:
            self._table.save(active, active.record.with_job(node=node), lazy=True)

    def _apply(self, active: ActiveJob, entry: object) -> None:
        """Apply an entry of the runner's journal, as one of the keeper's."""
        was, record = active.record.job.state, active.record
        if isinstance(entry, Gone):
            record = lifecycle.tree_gone(record, entry.at).with_remote(over=True)
            if active.stop is None:
                record = lifecycle.interrupted(record)
        elif not isinstance(entry, Launching):
            entry = _translated(active, entry)
            if isinstance(entry, Started):
                record = record.with_remote(started=entry.boottime)
                entry = replace(entry, boottime=_boottime_at(entry.at))
            record = lifecycle.advance(record, entry, self._table.boot)  # type: ignore[arg-type]
        self._table.save(active, record, lazy=True)
        self._applied(active, was)

    # The engine

    async def _polling(self) -> None:
        while True:
            asked = {remote.tag: (active, remote) for active, remote in self._unsure()}
            if asked:
                await self._poll(asked)
            await asyncio.sleep(min(POLL_SECONDS + len(asked) * POLL_JOB_SECONDS, MAX_POLL_SECONDS))

    def _unsure(self) -> Iterable[tuple[ActiveJob, RemoteJob]]:
        """Yield the jobs that the engine knows and whose folder does not show that they live."""
        now = time.monotonic()
        for active in list(self._jobs.values()):
            remote, record = active.remote, active.record
            if remote is not None and record.remote is not None and record.remote.engine_id:
                named = remote.sighting is not None and remote.sighting.node
                if not (remote.claimed and named) or now - remote.beat_at > SILENT_SECONDS:
                    yield active, remote
                else:
                    remote.unreachable, remote.absent = "", None

    async def _poll(self, asked: dict[str, tuple[ActiveJob, RemoteJob]]) -> None:
        ids = {tag: each.record.remote.engine_id for tag, (each, _) in asked.items() if each.record.remote}
        self.polls += 1
        now = time.monotonic()
        try:
            found = await self._calls.poll(ids)
        except JobworkerError as error:
            for _, remote in asked.values():
                remote.unreachable, remote.absent = error.message, None
            return
        for tag, (active, remote) in asked.items():
            sighting = found.get(tag)
            remote.unreachable, remote.sighting = "", sighting or remote.sighting
            absent = sighting is None or sighting.phase == Phase.GONE
            remote.absent = (remote.absent or now) if absent else None
            if sighting is not None and active.record.job.state == State.QUEUED:
                self._queued(active, sighting)

    def _queued(self, active: ActiveJob, sighting: Sighting) -> None:
        """Record why a job waits, if that has changed."""
        reason, starts = sighting.reason, sighting.starts
        if sighting.phase == Phase.RUNNING:
            reason, starts = f"starting on {sighting.node}" if sighting.node else "starting", None
        elif sighting.phase != Phase.QUEUED:
            return
        before = active.record.job.queued or Queued()
        moved = (starts is None) != (before.starts is None) or (
            starts is not None
            and abs(datetime.fromisoformat(before.starts or "").timestamp() - starts) > STARTS_SECONDS
        )
        if reason != before.reason or moved:
            queued = Queued(reason, None if starts is None else rfc3339(int(starts * 1e9)))
            self._table.save(active, active.record.with_job(queued=queued), by=self._calls.name, detail=reason)

    async def _ended_by_engine(self, active: ActiveJob, remote: RemoteJob, entries: Sequence[object]) -> None:
        """Apply entries with an end that the engine has caused, with its word for it if it has one soon."""
        for _ in range(WORD_TRIES):
            await self._poll({remote.tag: (active, remote)})
            if remote.absent is not None:
                break
            await asyncio.sleep(WORD_SECONDS)
        sighting = remote.sighting
        word = sighting.reason if sighting is not None and sighting.phase == Phase.GONE else ""
        for entry in entries:
            if isinstance(entry, Ended) and (entry.by or word in lifecycle.ENGINE_REASONS):
                entry = replace(entry, by=self._calls.name, word=word)  # noqa: PLW2901
            self._apply(active, entry)

    # The decision

    async def _decided(self, active: ActiveJob, remote: RemoteJob, verdict: Verdict) -> None:
        if verdict == Verdict.WAIT:
            return
        if verdict == Verdict.NEVER_BEGAN and not await remote.withdraw():
            remote.beat_at = time.monotonic()  # a runner has just begun
            return
        was = active.record.job.state
        record = self._table.as_it_is(active.record)
        if remote.withdrawn and record.stop.request is not None:
            record = lifecycle.withdrawn(record, time.time_ns())
        else:
            why = self._why(record.job.node, remote, verdict)
            if verdict == Verdict.NEVER_BEGAN and (
                words := await asyncio.to_thread(folder.last_words, remote.folder)
            ):
                why += f": {words}"
            record = lifecycle.lost(record, why, time.time_ns(), closed=True)
        self._table.save(active, record)
        self._applied(active, was)
        if verdict == Verdict.LOST:
            self._background.spawn(self._late(active.id, remote.folder, remote.lines))

    async def _late(self, job: str, place: str, lines: int) -> None:
        """Add an event if a lost job has an end after all, as of a node that was cut off. It stays lost."""
        until = time.monotonic() + LATE_SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(LATE_LOOK_SECONDS)
            try:
                look = await asyncio.to_thread(folder.look, place, job, lines)
            except OSError:
                continue  # the file system may be away as well
            for entry in look.entries:
                if isinstance(entry, Ended):
                    how = (
                        f"exited with code {entry.code}"
                        if entry.signal is None
                        else f"killed by {name_of(entry.signal)}"
                    )
                    try:
                        async with self._table.held(job) as active:
                            self._table.append_event(active, "late_exit", how, self._calls.name)
                    except JobNotFound:
                        pass
                    return

    def _why(self, node: str | None, remote: RemoteJob, verdict: Verdict) -> str:
        """Return why a job is lost, in the engine's words as far as it has any."""
        sighting = remote.sighting if remote.sighting is not None and remote.sighting.phase == Phase.GONE else None
        where = (sighting.node if sighting is not None else "") or node
        word = sighting.reason if sighting is not None and sighting.reason else "it is not known there any more"
        text = f"{self._calls.name}: {word}" + (f" (on {where})" if where else "")
        if verdict == Verdict.NEVER_BEGAN:
            return f"{text}; it never began to run"
        text += "; its runner has written no end"
        if sighting is not None and sighting.signal:
            text += f", and the engine reports {name_of(sighting.signal)}"
        elif sighting is not None and sighting.exit_code is not None:
            text += f", and the engine reports the exit code {sighting.exit_code}"
        return text


def _by_engine(entry: object) -> bool:
    """Whether the engine has ended a job, or may have: its SIGKILL comes for a limit of memory, too."""
    return isinstance(entry, Ended) and bool(
        entry.by or (entry.signal == signal.SIGKILL and not entry.signalled and not entry.oom)
    )


def _look(jobs: list[ActiveJob], *, whole: bool) -> Entries:
    """Look at the folders of all jobs, or only at those of jobs that begin now. In a thread."""
    found: Entries = []
    for active in jobs:
        if (remote := active.remote) is None or not (whole or (remote.waits and folder.has_begun(remote.folder))):
            continue
        try:
            found.append((active, folder.look(remote.folder, active.id, remote.lines)))
            remote.failed = ""
        except OSError as error:
            if not remote.failed:
                remote.failed = error.strerror or str(error)
                log.warning("job %s: its folder %s cannot be read: %s", active.id, remote.folder, remote.failed)
            found.append((active, None))
    return found


def note(remote: RemoteJob, look: Look) -> None:
    """Note what a look has found, apart from the journal's entries."""
    remote.lines, remote.boot = look.lines, look.boot or remote.boot
    if look.beat is not None and look.beat != remote.beat:
        remote.beat, remote.beat_at, remote.usage = look.beat, time.monotonic(), look.usage
    if look.claim is not None and look.claim.get("by") != "agent":
        if not remote.claimed:
            remote.claimed, remote.beat_at = True, time.monotonic()
        remote.node = str(look.claim.get("node") or remote.node)[:255]
    elif look.claim is not None:
        remote.withdrawn = True


def _translated(active: ActiveJob, entry: object) -> object:
    """Return an entry without what only means something on its node, and with times on the clock of this host."""
    record = active.record
    if isinstance(entry, Started):
        return replace(entry, group="", init=0, init_start=0)
    if isinstance(entry, Ended) and record.remote is not None:
        ran = entry.boottime - record.remote.started if record.remote.started else 0
        return replace(entry, boottime=record.process.started + max(0, ran))
    return entry


def _boottime_at(wall: int) -> int:
    """Return when that time of day (ns) was, on CLOCK_BOOTTIME of this host; now, for one that is still to come."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - max(0, time.time_ns() - wall)


def boottime_of(started_at: str) -> int:
    """Return the same for a time in RFC 3339."""
    return _boottime_at(int(datetime.fromisoformat(started_at).timestamp() * 1e9))
