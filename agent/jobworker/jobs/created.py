"""Count the jobs that are created and not started, by owner.

They end by themselves never, so an owner without a limit could have any number.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from jobworker.model import Job, JobSpec, State

_encode = msgspec.json.Encoder().encode


def spec_bytes(spec: JobSpec) -> int:
    """Return the size of a spec as JSON."""
    return len(_encode(spec))


class CreatedJobs:
    """How many there are of each owner, and the bytes of their specs."""

    def __init__(self, known: Iterable[tuple[str, str, int]]) -> None:
        """`known`: job, owner and bytes of each that there is already."""
        # Owner and bytes by job.
        self._jobs: dict[str, tuple[str, int]] = {}
        self.counts: Counter[str] = Counter()  # by owner
        self.bytes: Counter[str] = Counter()  # by owner
        for job, owner, size in known:
            self._add(job, owner, size)

    def put(self, job: Job) -> None:
        """Count a job as it is now, which may have been started."""
        self.remove(job.id)
        if job.state == State.CREATED:
            self._add(job.id, job.owner, spec_bytes(job.spec))

    def _add(self, job: str, owner: str, size: int) -> None:
        self._jobs[job] = owner, size
        self.counts[owner] += 1
        self.bytes[owner] += size

    def remove(self, job: str) -> None:
        """Count a job no more; one that is not counted is no error."""
        if job not in self._jobs:
            return
        owner, size = self._jobs.pop(job)
        self.counts[owner] -= 1
        self.bytes[owner] -= size
        if not self.counts[owner]:
            del self.counts[owner], self.bytes[owner]
