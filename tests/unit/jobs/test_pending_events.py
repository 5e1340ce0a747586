"""Events that wait for a disk which cannot be written: bounded by number and by the size of their labels."""

from msgspec.structs import replace
from tests.support.records import record

from jobworker.jobs.events import MAX_PENDING, MAX_PENDING_CHARACTERS, EventLog, event
from jobworker.model import Job, JobEvent

JOB = record().job
LARGE = replace(JOB, labels={f"{n}": "x" * 1000 for n in range(60)})


def labels_of(events: list[JobEvent]) -> int:
    return sum(len(name) + len(value) for each in events for name, value in each.job.labels.items())


def append(log: EventLog, job: Job, count: int) -> None:
    for revision in range(1, count + 1):
        log.append(event("updated", replace(job, revision=revision)))


def test_many_events() -> None:
    """The newest are kept."""
    log = EventLog(1000)
    append(log, JOB, MAX_PENDING + 5)
    kept = log.take_pending()
    assert (len(kept), kept[-1].revision) == (MAX_PENDING, MAX_PENDING + 5)


def test_large_labels() -> None:
    """They count again when a commit fails and the events are put back."""
    log = EventLog(1000)
    append(log, LARGE, 1000)
    kept = log.take_pending()
    assert MAX_PENDING_CHARACTERS - 100_000 < labels_of(kept) <= MAX_PENDING_CHARACTERS
    assert kept[-1].revision == 1000
    append(log, LARGE, 100)
    log.put_back(kept)
    assert labels_of(log.take_pending()) <= MAX_PENDING_CHARACTERS
    append(log, LARGE, 1000)
    log.discard(LARGE.id)
    append(log, JOB, 3)
    assert len(log.take_pending()) == 3
