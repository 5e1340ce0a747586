"""The job table in SQLite: all queries run in one thread, and changes of one turn are committed together.

The schema is described in ``docs/reference/on-disk-formats.md``.
A slow disk delays callers of `saved`, never the loop.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from jobworker.errors import DiskFull, StartError
from jobworker.jobs import database, paging
from jobworker.jobs.events import EventLog, EventPage
from jobworker.jobs.query import Query
from jobworker.jobs.record import JobRecord
from jobworker.jobs.rows import write_rows
from jobworker.jobs.stored import decode_record
from jobworker.jobs.worker_thread import WorkerThread
from jobworker.model import JobEvent

log = logging.getLogger(__name__)

LAZY_COMMIT_SECONDS = 0.05  # that changes which the journal also holds may wait for others to be committed with them
RETRY_SECONDS = 1.0  # until changes that could not be written are tried again
REVISION = "revision"  # in `meta`: the last one that was given
ENDED = "FROM jobs INDEXED BY ended_jobs WHERE NOT live AND state IN ('exited', 'lost')"
ENDED_OF = ENDED.replace("ended_jobs", "ended_of")  # by owner
# An update leaves alone what never changes of a job, and with it the indexes over that.
UPSERT = """
INSERT INTO jobs (id, state, live, owner, name, key, record, ended, kept) VALUES {rows}
ON CONFLICT (id) DO UPDATE SET state = excluded.state, live = excluded.live, record = excluded.record,
    ended = excluded.ended, kept = excluded.kept
"""
_encode = msgspec.json.Encoder().encode


class Store:
    """Called from the loop. `put` and `drop` return at once and are committed soon, in order."""

    def __init__(self, path: Path, keep_events: int, *, durable: bool = False) -> None:
        """`durable`: what is committed survives a power cut."""
        self._durable = durable
        self._worker = WorkerThread("store")  # makes all queries
        self._pending: dict[str, JobRecord | None] = {}  # to be committed next; None: to be deleted
        self._writing: dict[str, JobRecord | None] = {}  # being committed: the table still has the old ones
        self._labelled: set[str] = set()  # those of `_pending` whose labels may differ from those in the table
        self._meta: dict[str, Any] = {}  # values of `meta` to be committed next
        self._waiters: list[asyncio.Future[None]] = []  # of `saved`, for the next commit
        self._turn = asyncio.Lock()  # one page at a time: however many are requested, a commit waits for one at most
        self._flushing: asyncio.Future[None] | None = None  # the commit that is under way
        self._eager = False  # something pending may not wait for `_later`
        self._later: asyncio.TimerHandle | None = None  # begins the commit of lazy changes
        self.writable = True  # whether the last commit succeeded
        self._path = path
        self._read_only = False  # opened for reading: opened again when the disk can be written
        try:
            self._db = database.open_for_writing(path, durable)
        except sqlite3.OperationalError as error:
            try:
                self._db = database.open_read_only(path)
            except sqlite3.OperationalError:
                reason = f"{path}: the job table cannot be opened: {error}"
                raise StartError(reason, hint=database.write_remedy(path, error)) from error
            log.error("%s can only be read (%s): no job can be created", path, error)
            self._read_only = True
        except sqlite3.DatabaseError as error:
            aside = database.set_aside(path)
            log.error(
                "%s is no job table (%s): it was renamed to %s, and a new table was created", path, error, aside
            )
            self._db = database.open_for_writing(path, durable)
        self.events = EventLog(keep_events)
        self.events.last = self.meta(REVISION, 0)

    def active_records(self) -> list[JobRecord]:
        """Return the records that the agent keeps in memory; called once, at the start."""
        records = []
        for job, text in self._db.execute("SELECT id, record FROM jobs WHERE live ORDER BY id").fetchall():
            try:
                records.append(decode_record(text))
            except msgspec.MsgspecError as error:  # the others are loaded all the same
                log.error("job %s: its record cannot be read and is ignored: %s", job, error)
        return records

    def created_jobs(self) -> list[tuple[str, str, int]]:
        """Return id, owner and size of each job that is not started; called once, at the start."""
        query = "SELECT id, owner, length(CAST(record AS BLOB)) FROM jobs WHERE state = 'created'"
        return self._db.execute(query).fetchall()

    def meta(self, name: str, default: Any) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row[0] if row else default

    def last_id(self) -> str:
        """Return the last id of a job that is or was in the table, as far as its events are kept; "" if none was."""
        query = "SELECT max(id) FROM (SELECT max(id) AS id FROM jobs UNION ALL SELECT max(job) FROM events)"
        return self._db.execute(query).fetchone()[0] or ""

    def look(self, job: str) -> JobRecord | None:
        """Return a record, blocking the loop: for the rare journal entry about a job that is not in memory."""
        for changed in (self._pending, self._writing):
            if job in changed:
                return changed[job]
        row = self._db.execute("SELECT record FROM jobs WHERE id = ?", (job,)).fetchone()
        return decode_record(row[0]) if row else None

    def put(self, record: JobRecord, *, labels: bool = True, lazy: bool = False) -> None:
        """Store a record soon. `labels`: they may differ from those in the table.

        `lazy`: it may wait, because the journal has the change as well.
        """
        if labels:
            self._labelled.add(record.job.id)
        self._pending[record.job.id] = record
        self._meta[REVISION] = record.job.revision  # the newest: each change takes the next one
        self._schedule(lazy)

    def drop(self, job: str) -> None:
        """Delete a record soon."""
        self._pending[job] = None
        self._labelled.add(job)
        self._schedule()

    def set_meta(self, name: str, value: Any, *, lazy: bool = False) -> None:
        """Store a value in `meta`, in one commit with the records that are put in the same turn."""
        self._meta[name] = value
        self._schedule(lazy)

    def append_event(self, event: JobEvent) -> None:
        """Store an event, in one commit with the change that it describes, which is put in the same turn."""
        self.events.append(event)

    def discard(self, job: str) -> None:
        """Drop the pending record and events of a job that was refused because it could not be saved."""
        self._pending.pop(job, None)
        self.events.discard(job)

    def unsaved(self, job: str) -> bool:
        """Whether a change of the job is not committed yet."""
        return job in self._pending or job in self._writing

    async def saved(self) -> None:
        """Return when all that was put so far is committed; raise DiskFull."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._schedule()
        await waiter

    def _schedule(self, lazy: bool = False) -> None:
        self._eager |= not lazy
        if self._flushing is not None:
            return
        if lazy:
            if self._later is None:
                self._later = asyncio.get_running_loop().call_later(LAZY_COMMIT_SECONDS, self._schedule)
            return
        self._flushing = asyncio.ensure_future(self._flush())

    async def _flush(self) -> None:
        """Commit the changes of this turn of the loop, and those that came during the last commit."""
        await asyncio.sleep(0)
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._eager = False
        pending = self._writing = self._pending
        labelled, self._pending, self._labelled = self._labelled, {}, set()
        meta, self._meta = self._meta, {}
        events = self.events.take_pending()
        waiters, self._waiters = self._waiters, []
        error: Exception | None = None
        try:
            await self._worker.do(lambda: self._write(pending, labelled, meta, events), urgent=True)
            self.events.committed(events, meta.get(REVISION, self.events.last))
        except Exception as failure:  # whatever it is: the next commit must be tried
            error = failure
            self._pending = pending | self._pending
            self._labelled |= labelled
            self._meta = meta | self._meta
            self.events.put_back(events)
        self._writing = {}
        self._report(error)
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                reason = f"the job table cannot be written: {error}"
                waiter.set_exception(DiskFull(reason, hint=database.write_remedy(self._path, error)))
        self._flushing = None
        if error is not None:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._schedule)
        elif self._pending or self._meta or self._waiters:
            self._schedule(lazy=not self._eager)

    def _report(self, error: Exception | None) -> None:
        if error is not None and self.writable:
            log.error("the job table cannot be written, trying again every %g s: %s", RETRY_SECONDS, error)
        if error is None and not self.writable:
            log.warning("the job table can be written again")
        self.writable = error is None

    def _write(
        self, pending: dict[str, JobRecord | None], labelled: set[str], meta: dict[str, Any], events: list[JobEvent]
    ) -> None:
        rows = [_row(record) for record in pending.values() if record is not None]
        gone = [(job,) for job, record in pending.items() if record is None]
        changed = [(job, record) for job in labelled if (record := pending.get(job)) is not None]
        labels = [(label, value, job) for job, record in changed for label, value in record.job.labels.items()]
        if self._read_only:
            self._reopen()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            write_rows(self._db, UPSERT, rows)
            write_rows(self._db, "DELETE FROM jobs WHERE id IN (VALUES {rows})", gone)
            write_rows(self._db, "DELETE FROM labels WHERE job IN (VALUES {rows})", [(job,) for job in labelled])
            write_rows(self._db, "INSERT INTO labels VALUES {rows}", labels)
            write_rows(self._db, "REPLACE INTO meta VALUES {rows}", list(meta.items()))
            self.events.write(self._db, events)
            self._db.execute("COMMIT")
        except Exception as error:
            if isinstance(error, sqlite3.Error):
                self._read_only = error.sqlite_errorname.startswith("SQLITE_READONLY")
            if self._db.in_transaction:  # SQLite itself rolls back some that fail on a full disk
                self._db.execute("ROLLBACK")
            raise

    def _reopen(self) -> None:
        """Open the table for writing; if that fails, open it for reading again and raise."""
        self._db.close()  # first: it holds locks
        try:
            self._db = database.open_for_writing(self._path, self._durable)
        except sqlite3.Error:
            self._db = database.open_read_only(self._path)
            raise
        self._read_only = False

    async def get(self, job: str) -> JobRecord | None:
        if job in self._pending:
            return self._pending[job]
        return await self._one("SELECT record FROM jobs WHERE id = ?", job)

    async def by_key(self, owner: str, key: str) -> JobRecord | None:
        return await self._one("SELECT record FROM jobs WHERE owner = ? AND key = ?", owner, key)

    async def _one(self, query: str, *values: Any) -> JobRecord | None:
        rows = await self._all(query, values)
        return rows[0] if rows else None

    async def page(self, query: Query) -> tuple[list[JobRecord], bool]:
        """Return the records of a query, fewer than its limit if they are large, and whether there are more."""
        if self._pending:  # changes that were answered before must be in the page
            with contextlib.suppress(DiskFull):
                await self.saved()
        async with self._turn:
            page = await self._worker.do(lambda: paging.page_soon(self._db, query))
        return await self._page_in_slices(query) if page is None else page

    async def _page_in_slices(self, query: Query) -> tuple[list[JobRecord], bool]:
        """Walk over some jobs at a time, so that other queries have a turn in between."""
        records: list[JobRecord] = []
        size, more, before = 0, False, query.before
        while not more and size <= paging.PAGE_BYTES:
            async with self._turn:
                since = await self._worker.do(partial(paging.slice_end, self._db, before))
                part = query._replace(before=before, since=since, limit=query.limit - len(records))
                found, more = await self._worker.do(partial(paging.page, self._db, part))
            records += found
            size += sum(len(_encode(record)) for record in found)
            before = since
            if since is None:
                return records, more
        return records, True

    async def oldest_ended(self, limit: int, owner: str | None = None) -> list[JobRecord]:
        """Return records of ended jobs, of one owner or of all, in the order in which they ended."""
        if owner is None:
            return await self._all(f"SELECT record {ENDED} ORDER BY ended, id LIMIT ?", [limit])
        return await self._all(f"SELECT record {ENDED_OF} AND owner = ? ORDER BY ended, id LIMIT ?", [owner, limit])

    async def all_ended(self) -> list[tuple[str, str, str, int]]:
        """Return the end, the id, the owner and the bytes of the log of each ended job."""
        query = f"SELECT ended, id, owner, kept {ENDED_OF}"
        return await self._worker.do(lambda: self._db.execute(query).fetchall())

    async def without(self, ids: Sequence[str]) -> list[str]:
        """Return which of these ids no job has."""

        def missing() -> list[str]:
            query = "SELECT 1 FROM jobs WHERE id = ?"
            return [job for job in ids if self._db.execute(query, (job,)).fetchone() is None]

        return await self._worker.do(missing)

    def ended_totals(self) -> list[tuple[str, int, int]]:
        """Return each owner with the number of its ended jobs and the bytes of their logs; called at the start."""
        return self._db.execute(f"SELECT owner, count(*), ifnull(sum(kept), 0) {ENDED_OF} GROUP BY owner").fetchall()

    def newest_end(self) -> str:
        """Return when the last job ended (RFC 3339), "" if none has."""
        return self._db.execute(f"SELECT max(ended) {ENDED}").fetchone()[0] or ""

    async def ended_since(self, time: str) -> list[JobRecord]:
        """Return records of jobs that ended at that time (RFC 3339) or later."""
        return await self._all(f"SELECT record {ENDED} AND ended >= ?", [time])

    async def events_after(self, revision: int) -> EventPage:
        """Return a page of the committed events after a revision."""
        async with self._turn:
            return await self._worker.do(lambda: EventLog.after(self._db, revision))

    async def events_of(self, job: str) -> list[JobEvent]:
        """Return the last events of one job, also those that are not committed yet."""
        if self._pending:
            with contextlib.suppress(DiskFull):
                await self.saved()
        async with self._turn:
            return await self._worker.do(lambda: EventLog.of_job(self._db, job))

    async def _all(self, query: str, values: Sequence[Any]) -> list[JobRecord]:
        return await self._worker.do(lambda: [decode_record(row[0]) for row in self._db.execute(query, values)])

    async def close(self) -> None:
        try:
            await self.saved()
        except DiskFull:
            log.error(
                "the last changes of the job table were not written; the next agent takes them from the journal"
            )
        await self._worker.do(self._db.close)
        self._worker.end()


def _row(record: JobRecord) -> tuple[Any, ...]:
    job = record.job
    text = _encode(record).decode()
    return job.id, job.state, record.active, job.owner, job.name, record.key, text, job.exited_at, job.log.kept
