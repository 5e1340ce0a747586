"""The events of all jobs: what a change means to those who watch, kept in order of revision.

They are committed in one transaction with the changes they tell of, and told only then: a subscription
is a cursor over the table, so a subscriber who comes back after a crash of the agent has seen nothing
that is not there.
"""

import asyncio
import sqlite3
import time
from collections import deque
from typing import NamedTuple

import msgspec

from jobworker.model import Job, JobEvent, State
from jobworker.units import rfc3339

PAGE_EVENTS = 100  # events that are read at once
MAX_PENDING = 10_000  # events that wait for a disk that cannot be written; older ones are dropped
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (revision INTEGER PRIMARY KEY, job TEXT NOT NULL, event TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_of ON events (job, revision);
"""
DROPPED = "events_dropped"  # in `meta`: the last revision whose event was dropped
BY_STATE = {State.PAUSED: "paused", State.STOPPING: "stopping", State.EXITED: "exited", State.LOST: "exited"}

_encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(JobEvent).decode


def happened(before: Job, after: Job) -> str | None:
    """Return the name of what makes the difference between two states of a job; None where nothing is told."""
    if after.state != before.state:
        if after.state == State.RUNNING:
            return "resumed" if before.state == State.PAUSED else "started"
        return BY_STATE.get(after.state)
    if after.spec != before.spec:
        return "updated"
    receipt = None if after.exit is None else after.exit.receipt
    return "stopped" if receipt is not None and (before.exit is None or before.exit.receipt is None) else None


def event(name: str, job: Job, by: str | None = None, detail: str = "") -> JobEvent:
    """Return an event of the job as it is; the time is that of the record where there is one."""
    at = {"created": job.created_at, "started": job.started_at, "exited": job.exited_at}.get(name)
    if name == "exited" and job.exit is not None:
        by, detail = job.exit.by, job.exit.message
    return JobEvent(job.revision, at or rfc3339(time.time_ns()), name, by, detail, job.summary())


class EventPage(NamedTuple):
    """Events after some revision, as (revision, JSON), or the gap in place of those that are no longer kept."""

    events: list[tuple[int, str]]
    gap: int | None = None  # the last revision that is gone


class EventLog:
    """`pending` and `bells` belong to the loop; what takes a connection runs in the store's thread."""

    def __init__(self, keep: int) -> None:
        self.waiters: set[asyncio.Event] = set()
        self.last = 0  # the revision up to which all is committed
        self._keep = keep
        self._pending: deque[JobEvent] = deque()
        self._lost = 0
        self._added = keep  # since the last that were dropped; at the start it is not known how many there are

    def append(self, event: JobEvent) -> None:
        self._pending.append(event)
        self._bound()

    def _bound(self) -> None:
        while len(self._pending) > MAX_PENDING:
            self._lost = self._pending.popleft().revision

    def take_pending(self) -> list[JobEvent]:
        """Return what is to be committed."""
        taken, self._pending = list(self._pending), deque()
        return taken

    def put_back(self, taken: list[JobEvent]) -> None:
        """Keep what could not be committed for the next time."""
        self._pending.extendleft(reversed(taken))
        self._bound()

    def discard(self, job: str) -> None:
        """Forget the events of a job that was not created in the end."""
        self._pending = deque(event for event in self._pending if event.job.id != job)

    def committed(self, events: list[JobEvent], revision: int) -> None:
        """Tell those who follow that there are more."""
        self.last = revision
        for wakeup in self.waiters if events else ():
            wakeup.set()

    def write(self, db: sqlite3.Connection, events: list[JobEvent]) -> None:
        """Add events within a transaction, and drop the oldest of too many, a twentieth of all at a time."""
        rows = [(event.revision, event.job.id, _encode(event).decode()) for event in events]
        db.executemany("REPLACE INTO events VALUES (?, ?, ?)", rows)
        if self._lost:
            _mark_dropped(db, self._lost)
        self._added += len(rows)
        if self._added * 20 < self._keep:
            return
        self._added = 0
        newest = "SELECT revision FROM events ORDER BY revision DESC LIMIT 1 OFFSET ?"
        row = db.execute(newest, (self._keep,)).fetchone()
        if row is not None:
            db.execute("DELETE FROM events WHERE revision <= ?", row)
            _mark_dropped(db, row[0])

    @staticmethod
    def after(db: sqlite3.Connection, revision: int) -> EventPage:
        """Return a page of what stands after a revision."""
        row = db.execute("SELECT value FROM meta WHERE name = ?", (DROPPED,)).fetchone()
        if row is not None and row[0] > revision:
            return EventPage([], row[0])
        query = "SELECT revision, event FROM events WHERE revision > ? ORDER BY revision LIMIT ?"
        return EventPage(db.execute(query, (revision, PAGE_EVENTS)).fetchall())

    @staticmethod
    def of_job(db: sqlite3.Connection, job: str) -> list[JobEvent]:
        """Return the last events of one job, in order."""
        query = "SELECT event FROM events WHERE job = ? ORDER BY revision DESC LIMIT ?"
        return [decode(text) for (text,) in db.execute(query, (job, PAGE_EVENTS))][::-1]


def _mark_dropped(db: sqlite3.Connection, revision: int) -> None:
    db.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
        (DROPPED, revision),
    )
