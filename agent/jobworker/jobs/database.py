"""The file of the job table: its schema, how it is opened, and what is done with one that cannot be read."""

import sqlite3
import time
from pathlib import Path

from jobworker.errors import StartError
from jobworker.jobs import events

VERSION = 2  # of the format, in `PRAGMA user_version`; rows of format 1 are read as well
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, live INTEGER NOT NULL, owner TEXT NOT NULL,
    name TEXT, key TEXT, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS live ON jobs (id) WHERE live;
CREATE INDEX IF NOT EXISTS name ON jobs (name, id) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS key ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS ended ON jobs (json_extract(record, '$.job.exited_at'))
    WHERE NOT live AND state IN ('exited', 'lost');
"""


def open_for_writing(path: Path, durable: bool) -> sqlite3.Connection:
    """Open the table and create what it lacks; raise sqlite3.Error, and StartError for a later format.

    `durable`: each commit is synced to the disk.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        version = _require_known(db, path)  # first: nothing of a later format is changed
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")  # FULL: each commit is synced
        db.executescript(SCHEMA + events.SCHEMA)
        if version != VERSION:
            db.execute(f"PRAGMA user_version={VERSION}")
        db.execute("SELECT count(*) FROM jobs WHERE live").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open the table on a disk that cannot be written: SQLite can create neither its log nor its shared memory."""
    wal = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
    db = sqlite3.connect(f"{path.as_uri()}?{how}", uri=True, isolation_level=None, check_same_thread=False)
    try:
        _require_known(db, path)
        db.execute("SELECT count(*) FROM jobs WHERE live").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _require_known(db: sqlite3.Connection, path: Path) -> int:
    """Return the format of the table; raise StartError for a later one."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        text = f"{path} was written by a later version (format {version}); expected at most {VERSION}"
        raise StartError(text, hint="start the version of jobworker that wrote it")
    return version


def set_aside(path: Path) -> Path:
    """Rename a database that cannot be read, with the files that belong to it; return its new name."""
    aside = path.with_name(f"{path.name}.broken-{time.time_ns()}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
