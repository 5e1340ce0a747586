"""Jobs that the journal tells of and the table does not, for it was garbled or set back to an older state."""

from pathlib import Path

from jobworker.jobs.record import JobRecord
from jobworker.model import Job, JobSpec, State, rfc3339
from jobworker.runtime.journal import Launching, Started
from jobworker.runtime.tree import MARKER

OWNER = "unknown"  # nobody's: an admin can stop it


def recorded_anew(launching: Launching, started: Started) -> JobRecord | None:
    """Return a record, not yet started, for a job whose process still runs: with what that says of itself."""
    process = Path(f"/proc/{started.pid}")
    try:
        environ = (process / "environ").read_bytes().split(b"\0")
        words = (process / "cmdline").read_bytes().split(b"\0")[:-1]
        cwd = str((process / "cwd").readlink())
        start = int((process / "stat").read_bytes().rpartition(b")")[2].split()[19])
    except OSError:
        return None
    if start != started.start or f"{MARKER}={started.id}".encode() not in environ or not words:
        return None
    spec = JobSpec(argv=[word.decode(errors="replace") for word in words], cwd=cwd, timeout=None)
    created_at = rfc3339(launching.at)
    return JobRecord(
        job=Job(id=started.id, name=None, state=State.CREATED, spec=spec, owner=OWNER, created_at=created_at)
    )
