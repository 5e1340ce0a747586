"""The job table: one record for each job, all of them in the store, those that may still change also in memory.

Only `save` changes a record: it gives the record the next revision, stores it with the event for the change, and
wakes what waits for the job.
"""

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from jobworker.errors import DiskFull, JobNotFound, OffsetOutOfRange
from jobworker.host.sweep import ALONE, Neighbours
from jobworker.jobs import lifecycle
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.created import CreatedJobs
from jobworker.jobs.database import AGENT
from jobworker.jobs.event_cursor import EventCursor
from jobworker.jobs.events import event, happened
from jobworker.jobs.garbage import Ended
from jobworker.jobs.query import Query
from jobworker.jobs.recent import RecentRecords
from jobworker.jobs.record import JobRecord, continue_ids, is_id
from jobworker.jobs.remote import folder
from jobworker.jobs.scope import Scope, sees
from jobworker.jobs.store import REVISION, Store
from jobworker.linux.proc import boot_id
from jobworker.logs.reader import LogReader
from jobworker.model import Job, State
from jobworker.paths import Home, sync_folder


class JobTable:
    """All jobs of one agent, as records."""

    def __init__(self, home: Home, keep_events: int, *, durable: bool = False) -> None:
        """`durable`: what is answered survives a power cut."""
        self._logs = home.logs
        self._log_path = f"{home.logs}/"  # before the id of a job: each start of a job needs the path
        self._durable = durable
        store = self._store = Store(home.database, keep_events, durable=durable)
        # What the store has about all jobs; `meta` returns what `set_meta` stored.
        self.newest_end, self.ended_totals, self.meta = store.newest_end, store.ended_totals, store.meta
        self.by_key, self.events_of = store.by_key, store.events_of
        self.created = CreatedJobs(store.created_jobs())
        continue_ids(store.last_id())
        self.boot = boot_id()  # of the host, now
        self.agent: str = self.meta(AGENT, "")  # the id of this agent for engines; "": no executor was used
        self._revision: int = self._store.meta(REVISION, 0)  # the last one that was given
        self.on_inactive: list[Callable[[JobRecord], None]] = []  # called when a job can no longer change
        self.on_deleted: Callable[[JobRecord], None] = lambda record: None  # called when such a job is deleted
        self.on_release: Callable[[], None] = lambda: None  # called when a job leaves the memory
        self.neighbours: Callable[[], Neighbours] = lambda: ALONE  # what else runs on the host, for a sweep
        self._loading = Counter[str]()  # by job, how many calls read its record to bring it into memory
        self._recent = RecentRecords()  # of jobs that were created a moment ago, or have left the memory
        self._active = {record.job.id: self._made(record) for record in self._store.active_records()}

    def __iter__(self) -> Iterator[ActiveJob]:
        """Iterate over the jobs in memory, as they are now."""
        return iter(list(self._active.values()))

    def _made(self, record: JobRecord) -> ActiveJob:
        return ActiveJob(record, lambda: self.neighbours())  # noqa: PLW0108  # it is set later

    def size(self) -> int:
        """Return how many jobs are in memory."""
        return len(self._active)

    # In memory

    def active(self, job: str) -> ActiveJob | None:
        """Return a job if it is in memory."""
        return self._active.get(job)

    async def acquire(self, job: str) -> ActiveJob:
        """Keep the job in memory until `release`; raise JobNotFound, also for one that is being deleted."""
        if (active := self._active.get(job)) is None:
            active = await self._bring_in(job)
        if active.deleted:
            raise _not_found(job)
        active.holders += 1
        return active

    async def _bring_in(self, job: str) -> ActiveJob:
        """Load a job into memory; raise JobNotFound.

        Another call may start the job, and the job may end, while the record is read: what was read is old then. So
        a job that is being loaded does not leave the memory, and what is there counts, not what was read.
        """
        if (recent := self._recent.get(job)) is not None:  # what is stored is the same
            return self._active.setdefault(job, self._made(recent))
        self._loading[job] += 1
        try:
            record = await self.load(job)
            return self._active.setdefault(job, self._made(record))
        except BaseException:
            if (idle := self._active.get(job)) is not None:
                asyncio.get_running_loop().call_soon(self._forget, idle)  # it stayed for this call only
            raise
        finally:
            self._loading[job] -= 1
            if not self._loading[job]:
                del self._loading[job]

    def release(self, active: ActiveJob) -> None:
        """Let the job leave the memory, if nothing else needs it there."""
        active.holders -= 1
        self._forget(active)

    @contextlib.asynccontextmanager
    async def held(self, job: str) -> AsyncIterator[ActiveJob]:
        """Keep the job in memory inside the block; raise JobNotFound."""
        active = await self.acquire(job)
        try:
            yield active
        finally:
            self.release(active)

    def claim(self, record: JobRecord) -> ActiveJob | None:
        """Mark an ended job as deleted and return it; None if it is in memory, because a call uses it."""
        if record.job.id in self._active:
            return None
        active = self._active[record.job.id] = self._made(record)
        active.deleted = True
        self._recent.drop(record.job.id)
        return active

    def _forget(self, active: ActiveJob) -> None:
        """Drop a job from memory if it can no longer change and nothing uses it."""
        if active.holders or active.waiters or active.starting or active.stop is not None or active.record.active:
            return
        if active.id not in self._loading and self._active.get(active.id) is active:
            del self._active[active.id]
            if not active.deleted:
                self._recent.put(active.record)
            self.on_release()

    def reload(self, job: str) -> ActiveJob | None:
        """Return the job of a journal entry, loaded if needed; None if the entry can change nothing of it."""
        if (active := self._active.get(job)) is not None:
            return active
        record = self._store.look(job)
        if record is None or (record.process_tree_gone and record.log.closed):
            return None
        return self._active.setdefault(job, self._made(record))

    def insert(self, record: JobRecord) -> ActiveJob:
        """Add a job that had no record to the memory; `save` stores it."""
        return self._active.setdefault(record.job.id, self._made(record))

    # Changing

    async def add(self, record: JobRecord) -> None:
        """Store a new job; return when it is on disk. Raises DiskFull: then the job does not exist."""
        self.created.put(record.job)
        self._store.put(record, labels=bool(record.job.labels))
        self._store.append_event(event("created", record.job, record.job.owner))
        try:
            await self._store.saved()
        except DiskFull:
            self._store.discard(record.job.id)
            self.created.remove(record.job.id)
            raise
        self._recent.put(record)  # most jobs are started next

    def save(
        self, active: ActiveJob, record: JobRecord, *, by: str | None = None, detail: str = "", lazy: bool = False
    ) -> None:
        """Replace the record; `by` made the change. `lazy`: it may be stored later, the journal has it as well."""
        if record is active.record:
            return
        before = active.record
        active.record = record = record.with_job(revision=self.next_revision())
        if before.job.state == State.CREATED:
            self.created.put(record.job)
        if not active.deleted:
            if what := happened(before.job, record.job):
                self._store.append_event(event(what, record.job, by, detail))
            self._store.put(record, labels=record.job.labels is not before.job.labels, lazy=lazy)
            if not record.active and before.active:
                for call in self.on_inactive:
                    call(record)
        else:
            self._store.set_meta(REVISION, self._revision, lazy=lazy)
        active.notify()
        self._forget(active)

    def append_event(self, active: ActiveJob, what: str, detail: str, by: str) -> None:
        """Store an event for which only the revision of the record changes."""
        active.record = active.record.with_job(revision=self.next_revision())
        self._store.append_event(event(what, active.record.job, by, detail))
        self._store.put(active.record)

    @property
    def writable(self) -> bool:
        """Whether the last commit succeeded."""
        return self._store.writable

    async def written(self) -> bool:
        """Return when all that was saved is on disk, or if the disk cannot be written now; whether it is."""
        try:
            await self._store.saved()
        except DiskFull:
            return False
        return True

    async def wait_durable(self, active: ActiveJob) -> None:
        """Return when the job's record may be sent to callers: with durability "power", when it is on the disk."""
        if self._durable and self._store.unsaved(active.id):
            await self.written()

    async def announce(self, active: ActiveJob) -> None:
        """Record that a launch is about to begin: after a power cut the journal alone might not have it.

        Only with durability "power": otherwise the journal survives whatever the agent survives.
        """
        if self._durable and not active.record.process.boot:
            self.save(active, active.record.with_process(boot=self.boot))
            await self._store.saved()

    def retract(self, active: ActiveJob) -> None:
        """Undo `announce` for a launch that was refused."""
        process = active.record.process
        if active.is_created() and process.boot and not process.launching:
            self.save(active, active.record.with_process(boot=""))

    def next_revision(self) -> int:
        """Return a new revision: they order all changes of all jobs."""
        self._revision += 1
        return self._revision

    async def delete(self, active: ActiveJob, by: str) -> None:
        """Delete the log and the record of a job, and end the calls that follow it or wait for it; raise DiskFull.

        The log first: on a full disk that makes room for the change of the table. The ActiveJob stays until the
        record is deleted: a call that loads the record meanwhile finds the mark.
        """
        active.deleted, record = True, active.record
        try:
            await asyncio.to_thread(remove_log, self.log_folder(active.id), self.agent)
            if self._durable:
                await asyncio.to_thread(sync_folder, self._logs)
            self._store.drop(active.id)
            self._store.append_event(event("deleted", replace(record.job, revision=self.next_revision()), by))
            self._store.set_meta(REVISION, self._revision)
            await self._store.saved()
        except DiskFull:
            active.deleted = False
            self._forget(active)
            raise
        self._active.pop(active.id, None)
        self._recent.drop(active.id)
        self.created.remove(active.id)
        if record.job.state.final and not record.active:
            self.on_deleted(record)
        if active.holders:
            self.save(active, lifecycle.lost(record, "the job was deleted", time.time_ns(), closed=True))

    def set_meta(self, name: str, value: Any) -> None:
        """Store a value beside the jobs, in one commit with what was saved before it."""
        self._store.set_meta(name, value, lazy=True)

    # Reading

    async def load(self, job: str) -> JobRecord:
        """Return a job's record; raise JobNotFound."""
        record = await self._store.get(job) if is_id(job) else None
        if record is None:
            raise _not_found(job)
        return record

    def seen_in_memory(self, job: str, scopes: Sequence[Scope]) -> Job | None:
        """Return a job that is within the scopes, if it is in memory and what may be answered of it is.

        For every other job, whether it exists or not, the caller takes the steps of `seen`.
        """
        active = self._active.get(job)
        record = active.record if active is not None else self._recent.get(job)
        if record is None or not sees(scopes, record.job):
            return None
        if self._durable and record.job.state.final and self._store.unsaved(job):
            return None
        return self.public(record)

    async def seen(self, job: str, scopes: Sequence[Scope]) -> Job:
        """Return a job that is within the scopes; raise JobNotFound for one that is not, or does not exist.

        Both cases take the same steps, so that the time of the answer does not reveal which it was.
        """
        active = self._active.get(job)
        if active is not None and sees(scopes, active.record.job):
            if active.record.job.state.final:
                await self.wait_durable(active)
            return self.public(active.record)
        record = await self.load(job)
        if not sees(scopes, record.job):
            raise _not_found(job)
        return self.public(record)

    async def oldest_ended(self, limit: int, owner: str | None = None) -> list[JobRecord]:
        """Return records of ended jobs (of this owner) that no call uses, in the order in which they ended."""
        await self.written()
        held = sum(not active.record.active for active in self._active.values())
        records = await self._store.oldest_ended(limit + held, owner)
        return [record for record in records if record.job.id not in self._active][:limit]

    async def all_ended(self) -> list[Ended]:
        """Return the ended jobs that no call uses."""
        await self.written()
        found = [Ended(ended or "", job, owner, kept) for ended, job, owner, kept in await self._store.all_ended()]
        return [job for job in found if job.id not in self._active]

    async def without(self, ids: Sequence[str]) -> list[str]:
        """Return which of these ids no job has."""
        await self.written()
        return [job for job in await self._store.without(ids) if job not in self._active]

    async def ended_since(self, time: str) -> list[JobRecord]:
        """Return records of jobs that ended at that time (RFC 3339) or later."""
        await self.written()
        return await self._store.ended_since(time)

    def events(self, revision: int | None) -> EventCursor:
        """Return a cursor over the events after a revision, None: from now on; raise OffsetOutOfRange."""
        if revision is not None and not 0 <= revision <= self._revision:
            last = self._revision
            raise OffsetOutOfRange(f"from: {revision}; expected 0 to {last}, the last revision", end=last)
        return EventCursor(self._store, self._store.events.last if revision is None else revision)

    async def page(self, query: Query) -> tuple[list[Job], str | None]:
        """Return a page of jobs, and `before` of the next page (None: there is none)."""
        records, more = await self._store.page(query)
        now = {} if self._durable else self._active  # with durability "power" only what is committed is answered
        jobs = [self.public(active.record if (active := now.get(r.job.id)) else r) for r in records]
        if query.states is not None:  # the record in memory may be newer than the one in the store
            jobs = [job for job in jobs if job.state in query.states]
        return jobs, records[-1].job.id if more else None

    def public(self, record: JobRecord) -> Job:
        """Return the job as callers see it, with the size that its log has now."""
        return self.as_it_is(record).job

    def as_it_is(self, record: JobRecord) -> JobRecord:
        """Return the record with the size that the job's log has now; output ends a wait for input."""
        if record.log.closed or record.job.state == State.CREATED:
            return record
        reader = LogReader(self.log_path(record.job.id))
        size, first = reader.size(), reader.first()
        reader.close()
        changes = {} if size == record.input.quiet else {"waiting": None}
        return record.with_job(log=replace(record.job.log, bytes=size, first_offset=first), **changes)

    def log_folder(self, job: str) -> Path:
        return self._logs / job

    def log_path(self, job: str) -> str:
        """Return `log_folder` as text, which is made in less time."""
        return self._log_path + job

    async def wait_ended(self, active: ActiveJob) -> Job:
        """Return the job when it has ended and, if a stop ended it, the stop has written its receipt."""
        while not active.has_final_exit():
            await active.wait_changed()
        await self.wait_durable(active)
        return self.public(active.record)

    async def close(self) -> None:
        await self._store.close()


def remove_log(log: Path, agent: str) -> None:
    """Remove a log, and the job folder of which it is a part if an executor has run the job for this agent."""
    if log.is_symlink():
        job = log.readlink().parents[1]
        if agent and job.parent.name == agent:  # else it is in use: this table is a copy
            folder.remove(str(job))
        log.unlink()
    shutil.rmtree(log, ignore_errors=True)


def _not_found(job: str) -> JobNotFound:
    return JobNotFound(f"there is no job {job[:80]!r} that you may see", job=job[:80])
