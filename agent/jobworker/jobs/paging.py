"""Read pages of the job table, in the thread of its connection: at once, or in slices if that takes long."""

import sqlite3
import time

from jobworker.jobs.query import Query
from jobworker.jobs.record import JobRecord
from jobworker.jobs.stored import decode_record

SLICE_SECONDS = 0.02  # for a query; if it takes longer, it walks over so many jobs at a time
SLICE_JOBS = 2000
SLICE_STEPS = 10_000  # of SQLite, between two looks at the clock: about a millisecond
PAGE_BYTES = 1 << 20  # of records, after which a page ends: a single spec may be as large

Page = tuple[list[JobRecord], bool]  # the records, and whether there are more


def page_soon(db: sqlite3.Connection, query: Query) -> Page | None:
    """Return a page; None if it takes long, because the query matches few of many jobs."""
    end = time.monotonic() + SLICE_SECONDS
    db.set_progress_handler(lambda: time.monotonic() > end, SLICE_STEPS)
    try:
        return page(db, query)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return None
        raise
    finally:
        db.set_progress_handler(None, 0)


def page(db: sqlite3.Connection, query: Query) -> Page:
    """Return the records of a query, fewer than its limit if they are large."""
    found = {job for select in query.selects(query.limit + 1) for (job,) in db.execute(*select)}
    records: list[JobRecord] = []
    size = 0
    for job in sorted(found, reverse=True):
        (text,) = db.execute("SELECT record FROM jobs WHERE id = ?", [job]).fetchone()
        size += len(text)
        if len(records) == query.limit or (records and size > PAGE_BYTES):
            return records, True
        records.append(decode_record(text))
    return records, False


def slice_end(db: sqlite3.Connection, before: str | None) -> str | None:
    """Return the oldest of the next jobs to walk over; None if it may be all that are left."""
    where, values = ("WHERE id < ?", [before]) if before is not None else ("", [])
    query = f"SELECT id FROM jobs {where} ORDER BY id DESC LIMIT 1 OFFSET ?"  # noqa: S608  # built of constants
    row = db.execute(query, [*values, SLICE_JOBS]).fetchone()
    return None if row is None else str(row[0])
