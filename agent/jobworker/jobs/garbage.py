"""Decide which ended jobs retention deletes, and find the logs that belong to no job. Nothing is deleted here."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from jobworker.config import Retention
from jobworker.jobs.record import is_id
from jobworker.units import seconds, size

AGE, NUMBER, BYTES, NO_JOB = "age", "jobs", "bytes", "no_job"  # why something is deleted
BLOCK_BYTES = 512  # of `st_blocks`


class Ended(NamedTuple):
    """A job that has ended, and the bytes of its log that are kept."""

    ended: str  # RFC 3339
    id: str
    owner: str
    kept: int


class Limits(NamedTuple):
    """Those of retention; 0 is none. Ages are in seconds."""

    age: float
    min_age: float
    jobs: int
    bytes: int

    @classmethod
    def of(cls, config: Retention) -> "Limits":
        """Return the limits of a configuration; raise what its values raise."""
        return cls(
            seconds(config.age, "retention.age"),
            seconds(config.min_age, "retention.min_age"),
            config.jobs,
            size(config.bytes, "retention.bytes"),
        )


def exceeding(jobs: Iterable[Ended], limits: Limits, now: float) -> list[tuple[Ended, str]]:
    """Return the jobs that retention deletes at a time (seconds since 1970), each with the reason.

    The owner that has the most loses its oldest, as `Retention` does it.
    """
    ordered = sorted(jobs)
    begins = [job for job in ordered if limits.age and now - _time(job) >= limits.age]
    found = [(job, AGE) for job in begins]
    left = ordered[len(begins) :]  # those that ended first are the oldest
    queues: dict[str, deque[Ended]] = {}
    for job in left:
        queues.setdefault(job.owner, deque()).append(job)
    counts = Counter({owner: len(queue) for owner, queue in queues.items()})
    kept = Counter({owner: sum(job.kept for job in queue) for owner, queue in queues.items()})
    count, total = len(left), sum(kept.values())
    while (many := bool(limits.jobs and count > limits.jobs)) or (limits.bytes and total > limits.bytes):
        most = (counts if many else kept).most_common()
        heads = (queues[owner][0] for owner, _ in most if queues[owner])
        oldest = next((job for job in heads if now - _time(job) >= limits.min_age), None)
        if oldest is None:
            break  # all that are left are too young
        queues[oldest.owner].popleft()
        counts[oldest.owner] -= 1
        kept[oldest.owner] -= oldest.kept
        count, total = count - 1, total - oldest.kept
        found.append((oldest, NUMBER if many else BYTES))
    return found


def _time(job: Ended) -> float:
    return datetime.fromisoformat(job.ended).timestamp()


def folders(logs: Path) -> list[str]:
    """Return the ids of the logs that are there, whether or not they belong to a job; blocking."""
    return [path.name for path in logs.iterdir() if is_id(path.name)]


def room(logs: Path, ids: Sequence[str]) -> int:
    """Return the bytes of the disk that logs take; blocking."""
    files = (path for job in ids for path in (logs / job).glob("*"))
    return sum(path.lstat().st_blocks * BLOCK_BYTES for path in files)
