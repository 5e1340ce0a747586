"""The events of all jobs: derive them from changes of a record, and keep them in order of revision.

An event is committed in one transaction with the change that it describes, and delivered only then. A subscription
is a cursor over the table, so a subscriber never gets an event that is gone after a crash of the agent.
"""

import asyncio
import sqlite3
import time
from collections import deque
from typing import NamedTuple

import msgspec

from jobworker.jobs.rows import write_rows
from jobworker.jobs.stored import current, decode_event
from jobworker.model import Job, JobEvent, State
from jobworker.units import rfc3339

PAGE_EVENTS = 100  # events that are read at once
PAGE_BYTES = 1 << 18  # of events that are read at once: the labels of a single one may have as many
MAX_PENDING = 10_000  # events that wait for a disk that cannot be written; older ones are dropped
MAX_PENDING_CHARACTERS = 16 << 20  # of the labels of these events: each may have 73,728
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (revision INTEGER PRIMARY KEY, job TEXT NOT NULL, event TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_of ON events (job, revision);
"""
DROPPED = "events_dropped"  # in `meta`: the last revision whose event was dropped
BY_STATE = {
    State.QUEUED: "queued",
    State.PAUSED: "paused",
    State.STOPPING: "stopping",
    State.EXITED: "exited",
    State.LOST: "exited",
}

_encode = msgspec.json.Encoder().encode


def happened(before: Job, after: Job) -> str | None:
    """Return the name of the event for the change from one job to the next; None if the change causes no event."""
    if after.state != before.state:
        if after.state == State.RUNNING:
            return "resumed" if before.state == State.PAUSED else "started"
        return BY_STATE.get(after.state)
    if after.queued != before.queued:
        return "queued"
    if after.spec != before.spec:
        return "updated"
    if after.writer != before.writer:
        return "writer"
    if after.waiting != before.waiting:
        return "waiting"
    receipt = None if after.exit is None else after.exit.receipt
    return "stopped" if receipt is not None and (before.exit is None or before.exit.receipt is None) else None


def event(name: str, job: Job, by: str | None = None, detail: str = "") -> JobEvent:
    """Return an event of the job as it is now; the time is that in the record, if there is one."""
    at = {"created": job.created_at, "started": job.started_at, "exited": job.exited_at}.get(name)
    if name == "exited" and job.exit is not None:
        by, detail = job.exit.by, job.exit.message
    return JobEvent(job.revision, at or rfc3339(time.time_ns()), name, by, detail, job.summary())


class EventPage(NamedTuple):
    """Events after some revision, as (revision, JSON), or the gap in place of those that are no longer kept."""

    events: list[tuple[int, str]]
    gap: int | None = None  # the last revision that is gone


class EventLog:
    """Events, waiting and committed. What takes a connection runs in the store's thread."""

    def __init__(self, keep: int) -> None:
        self.waiters: set[asyncio.Event] = set()  # set when events were committed
        self.last = 0  # the revision up to which all events are committed
        self._keep = keep  # events in the table
        self._pending: deque[JobEvent] = deque()
        self._characters = 0  # of the labels of `_pending`
        self._lost = 0  # the last revision that was dropped before it could be committed
        self._added = keep  # events since old ones were last dropped; unknown at the start, so that it is checked

    def append(self, event: JobEvent) -> None:
        """Add an event to those that wait to be committed."""
        self._pending.append(event)
        self._characters += _characters(event)
        self._bound()

    def _bound(self) -> None:
        while len(self._pending) > MAX_PENDING or self._characters > MAX_PENDING_CHARACTERS:
            dropped = self._pending.popleft()
            self._lost = dropped.revision
            self._characters -= _characters(dropped)

    def take_pending(self) -> list[JobEvent]:
        """Return the events to be committed; none is left waiting."""
        taken, self._pending, self._characters = list(self._pending), deque(), 0
        return taken

    def put_back(self, taken: list[JobEvent]) -> None:
        """Put events that could not be committed before those that came meanwhile."""
        self._pending.extendleft(reversed(taken))
        self._characters += sum(map(_characters, taken))
        self._bound()

    def discard(self, job: str) -> None:
        """Drop the events of a job that was refused after all."""
        self._pending = deque(event for event in self._pending if event.job.id != job)
        self._characters = sum(map(_characters, self._pending))

    def committed(self, events: list[JobEvent], revision: int) -> None:
        """Wake the cursors if there are new events."""
        self.last = revision
        for wakeup in self.waiters if events else ():
            wakeup.set()

    def write(self, db: sqlite3.Connection, events: list[JobEvent]) -> None:
        """Add events within a transaction; drop the oldest if there are too many, a twentieth of all at a time."""
        rows = [(event.revision, event.job.id, _encode(event).decode()) for event in events]
        write_rows(db, "REPLACE INTO events VALUES {rows}", rows)
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
        """Return a page of the events after a revision."""
        row = db.execute("SELECT value FROM meta WHERE name = ?", (DROPPED,)).fetchone()
        if row is not None and row[0] > revision:
            return EventPage([], row[0])
        query = "SELECT revision, event FROM events WHERE revision > ? ORDER BY revision LIMIT ?"
        events: list[tuple[int, str]] = []
        size = 0
        for number, text in db.execute(query, (revision, PAGE_EVENTS)):
            size += len(text)
            if events and size > PAGE_BYTES:
                break
            events.append((number, current(text)))
        return EventPage(events)

    @staticmethod
    def of_job(db: sqlite3.Connection, job: str) -> list[JobEvent]:
        """Return the last events of one job, in order, without its labels: those of a hundred events may be large."""
        event = "iif(json_valid(event), json_remove(event, '$.job.labels'), event)"
        query = f"SELECT {event} FROM events WHERE job = ? ORDER BY revision DESC LIMIT ?"  # noqa: S608  # constant
        return [decode_event(text) for (text,) in db.execute(query, (job, PAGE_EVENTS))][::-1]


def _characters(event: JobEvent) -> int:
    """Return the characters of an event's labels, which are what may be large of it."""
    labels = event.job.labels
    return sum(map(len, labels)) + sum(map(len, labels.values())) if labels else 0


def _mark_dropped(db: sqlite3.Connection, revision: int) -> None:
    db.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
        (DROPPED, revision),
    )
