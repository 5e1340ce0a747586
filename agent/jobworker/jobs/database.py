"""The file of the job table: its schema, how it is opened, and what is done with one that cannot be read."""

import errno
import sqlite3
import time
from pathlib import Path

from jobworker.errors import StartError, write_hint
from jobworker.jobs import events

VERSION = 2  # of the format, in `PRAGMA user_version`; rows of format 1 are read as well
AGENT = "agent"  # in `meta`: the id of the agent for engines of executors, once one was used
_ENDED = "NOT live AND state IN ('exited', 'lost')"
TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, live INTEGER NOT NULL, owner TEXT NOT NULL,
    name TEXT, key TEXT, record TEXT NOT NULL, ended TEXT, kept INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (
    label TEXT NOT NULL, value TEXT NOT NULL, job TEXT NOT NULL, PRIMARY KEY (label, value, job)
) WITHOUT ROWID;
"""
# Each list is a walk along one of these, newest first, and each total along a narrow one: rows hold whole specs.
INDEXES = f"""
CREATE INDEX IF NOT EXISTS live ON jobs (id) WHERE live;
CREATE INDEX IF NOT EXISTS name ON jobs (name, id) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS key ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS ended_jobs ON jobs (ended, id, kept, live, state) WHERE {_ENDED};
CREATE INDEX IF NOT EXISTS ended_of ON jobs (owner, ended, id, kept, live, state) WHERE {_ENDED};
CREATE INDEX IF NOT EXISTS states ON jobs (state, id);
CREATE INDEX IF NOT EXISTS owners ON jobs (owner, id);
CREATE INDEX IF NOT EXISTS labels_of ON labels (job, label, value);
"""
# What format 1 had only in the records, as JSON; `ended` was an index then.
UPGRADE = """
DROP INDEX IF EXISTS ended;
ALTER TABLE jobs ADD COLUMN ended TEXT;
ALTER TABLE jobs ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET ended = json_extract(record, '$.job.exited_at'), kept = ifnull(
    json_extract(record, '$.job.log.bytes') - json_extract(record, '$.job.log.first_offset'), 0)
    WHERE json_valid(record);
INSERT OR IGNORE INTO labels SELECT label.key, label.value, jobs.id
    FROM jobs, json_each(iif(json_valid(record), record, '{}'), '$.job.labels') AS label;
"""


def open_for_writing(path: Path, durable: bool) -> sqlite3.Connection:
    """Open the table and create what it lacks; raise sqlite3.Error, and StartError for a later format.

    `durable`: each commit is synced to the disk.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        version = require_known(db, path)  # first: nothing of a later format is changed
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")  # FULL: each commit is synced
        _bring_up_to_date(db, version)
        db.execute("SELECT count(*) FROM jobs WHERE live").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _bring_up_to_date(db: sqlite3.Connection, version: int) -> None:
    """Create what the table lacks; with `version` 1, add what this format has in columns. All or nothing."""
    upgrade = UPGRADE if version == 1 else ""
    script = f"{TABLES} {upgrade} {INDEXES} {events.SCHEMA} PRAGMA user_version={VERSION};"
    try:
        db.executescript(f"BEGIN IMMEDIATE; {script} COMMIT;")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open the table on a disk that cannot be written: SQLite can create neither its log nor its shared memory."""
    wal = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
    db = sqlite3.connect(f"{path.as_uri()}?{how}", uri=True, isolation_level=None, check_same_thread=False)
    try:
        version = require_known(db, path)
        db.execute("SELECT count(*) FROM jobs WHERE live").fetchone()
        return db if version == VERSION else _upgraded_in_memory(db, version)
    except BaseException:
        db.close()
        raise


def _upgraded_in_memory(db: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """Return a copy in this format of a table on a disk that cannot be written; close the original."""
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    db.backup(copy)
    db.close()
    _bring_up_to_date(copy, version)
    return copy


def require_known(db: sqlite3.Connection, path: Path) -> int:
    """Return the format of the table; raise StartError for a later one."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        text = f"{path} was written by a later version (format {version}); expected at most {VERSION}"
        raise StartError(text, hint="start the version of jobworker that wrote it")
    return version


def write_remedy(path: Path, error: Exception) -> str:
    """Return what to do about a table that cannot be opened or written."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the higher bits have the details
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"another process holds a lock on the table: `fuser -v {path}` shows it"
    return write_hint(path, {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}.get(code))


def set_aside(path: Path) -> Path:
    """Rename a database that cannot be read, with the files that belong to it; return its new name."""
    aside = path.with_name(f"{path.name}.broken-{time.time_ns()}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
