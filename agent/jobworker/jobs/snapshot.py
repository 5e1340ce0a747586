"""Copy a job table while an agent writes it, and make the copy the table of another agent."""

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from jobworker.errors import JobworkerError, StartError
from jobworker.jobs import database
from jobworker.jobs.draining import META as DRAINING
from jobworker.jobs.stored import decode_record

# Codes of SQLite on a disk without room: it may fail to write, to make a file, or to make it longer.
NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
LEAST_ROOM_BYTES = 1 << 20
RESTORED = "restored"  # in `meta`: why jobs that ran at the backup are lost, until the next agent has read it


def copy(source: Path, target: Path) -> None:
    """Write a consistent copy of a table; raise JobworkerError, and OSError if there is no room for it."""
    with _sqlite(target), closing(_open(source)) as db, closing(sqlite3.connect(target)) as copied:
        database.require_known(db, source)
        db.backup(copied)  # in one step: of one moment, while the agent goes on
        copied.execute("PRAGMA journal_mode=DELETE")  # one file


def jobs(table: Path) -> Iterator[tuple[str, int]]:
    """Yield the id of each job and the bytes of its log that the table has."""
    with _sqlite(table), closing(_open(table)) as db:
        yield from db.execute("SELECT id, kept FROM jobs ORDER BY id").fetchall()


def running(table: Path) -> int:
    """Return how many jobs may have a process."""
    with _sqlite(table), closing(_open(table)) as db:
        return int(db.execute("SELECT count(*) FROM jobs WHERE live").fetchone()[0])


def without(table: Path, ids: Iterable[str]) -> set[str]:
    """Return which of these jobs are not in the table."""
    with _sqlite(table), closing(_open(table)) as db:
        query = "SELECT 1 FROM jobs WHERE id = ?"
        return {job for job in ids if db.execute(query, (job,)).fetchone() is None}


def forget(table: Path, ids: Iterable[str]) -> None:
    """Remove jobs that were deleted after the copy was made."""
    with _sqlite(table), closing(sqlite3.connect(table)) as db, db:
        for job in ids:
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))
            db.execute("DELETE FROM events WHERE job = ?", (job,))
            if db.execute("PRAGMA user_version").fetchone()[0] >= 2:
                db.execute("DELETE FROM labels WHERE job = ?", (job,))


def check(table: Path) -> int:
    """Return the number of jobs; raise JobworkerError for a table that is damaged, or of a later format."""
    with _sqlite(table), closing(_open(table)) as db:
        database.require_known(db, table)
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise JobworkerError(f"the job table is damaged: {found}")
        return int(db.execute("SELECT count(*) FROM jobs").fetchone()[0])


def make_foreign(table: Path, why: str, boot: str, other: str) -> None:
    """Have the next agent take no process of this host for one of the table's jobs.

    `boot` is the boot id of this host, in whose place the table gets an`other`: what ran at the backup is lost, and
    `why` is the reason.
    """
    with _sqlite(table), closing(sqlite3.connect(table)) as db, db:
        for job, text in db.execute("SELECT id, record FROM jobs WHERE live").fetchall():
            record = decode_record(text)
            if record.process.boot == boot:
                changed = msgspec.json.encode(record.with_process(boot=other)).decode()
                db.execute("UPDATE jobs SET record = ? WHERE id = ?", (changed, job))
        db.execute("UPDATE meta SET value = ? WHERE value = ? AND name IN ('boot', 'journal_boot')", (other, boot))
        db.execute("DELETE FROM meta WHERE name IN ('place', ?, ?)", (DRAINING, database.AGENT))
        db.execute("REPLACE INTO meta VALUES (?, ?)", (RESTORED, why))


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


@contextmanager
def _sqlite(path: Path) -> Iterator[None]:
    """Raise what SQLite raises about a table as an OSError, if there is no room beside it, else as a StartError."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the higher bits have the details
        disk = os.statvfs(path.parent)
        if code in NO_ROOM and disk.f_bavail * disk.f_frsize < LEAST_ROOM_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise StartError(f"{path}: the job table cannot be read: {error}") from error
    except msgspec.MsgspecError as error:
        raise StartError(f"{path}: a record of the job table cannot be read: {error}") from error
