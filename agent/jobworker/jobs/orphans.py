"""Rebuild the records of jobs that are in the journal but not in the table, as after a restored backup."""

import os

from jobworker.host.journal import Launching, Started
from jobworker.host.process_tree import Process, process_of
from jobworker.host.procfs import run_with_stuck_guard
from jobworker.jobs.identity import Identity, name_of
from jobworker.jobs.record import JobRecord, ProcessRecord
from jobworker.linux.proc import MARKER
from jobworker.model import Job, JobSpec, State
from jobworker.text import text_of
from jobworker.units import rfc3339

OWNER = "unknown"  # so that only an admin can stop it


def rebuild_record(launching: Launching, started: Started) -> JobRecord | None:
    """Return a record, not yet started, of a job whose process still runs, from what /proc shows of it; else None."""
    process = process_of(started.pid)
    if process is None or process.start != started.start:
        return None
    try:
        environ, words = (_read(process, what).split(b"\0")[:-1] for what in ("environ", "cmdline"))
        cwd = os.readlink(f"/proc/{started.pid}/cwd")
        identity = _identity(started.pid)
    except (OSError, KeyError):
        return None
    if f"{MARKER}={started.id}".encode() not in environ or not words:
        return None
    spec = JobSpec(argv=[*map(text_of, words)], cwd=text_of(cwd), timeout=None)
    created_at = rfc3339(launching.at)
    job = Job(id=started.id, name=None, state=State.CREATED, spec=spec, owner=OWNER, created_at=created_at)
    return JobRecord(job=job, identity=identity, process=ProcessRecord())


def _identity(pid: int) -> Identity | None:
    """Return the user that a process runs as; None: the agent's own. The command of a stop runs as that user."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    uid, gid = (int(fields[name].split()[0]) for name in ("Uid", "Gid"))
    if uid == os.geteuid():
        return None
    groups = sorted({gid, *map(int, fields["Groups"].split())})
    return Identity(name_of(uid), uid, gid, groups, "/", "/")


def _read(process: Process, what: str) -> bytes:
    return run_with_stuck_guard(lambda reader: reader.read(process.pid, process.start, what))
