"""Compare two state folders: every job, event, and byte of each log, with its time."""

import sqlite3
from contextlib import closing
from pathlib import Path

from jobworker.logs.reader import Chunk, Gap, LogReader
from jobworker.paths import Home


def rows(home: Home, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"{home.database.as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def log_of(folder: Path) -> list[Chunk | Gap]:
    """Return each arrival of a log, and its gaps."""
    reader, found, at = LogReader(folder), [], 0
    while (piece := reader.read(at, 1 << 20, arrivals=True)) is not None:
        found.append(piece)
        at = piece.end
    reader.close()
    return found


def differences(first: Home, second: Home, revision: int) -> list[str]:
    """Return what differs between two state folders: of jobs that had ended by a revision, and of events up to it."""
    found = []
    ended = "SELECT id, record FROM jobs WHERE NOT live AND state != 'created' ORDER BY id"
    theirs, ours = ({row[0]: row[1] for row in rows(home, ended)} for home in (first, second))
    found += [f"job {job}: {theirs[job]} {ours.get(job)}" for job in theirs if theirs[job] != ours.get(job)]
    found += [f"log of {job}" for job in theirs if log_of(first.logs / str(job)) != log_of(second.logs / str(job))]
    events = f"SELECT revision, job, event FROM events WHERE revision <= {revision} ORDER BY revision"
    if rows(first, events) != rows(second, events):
        found.append("events")
    return found
