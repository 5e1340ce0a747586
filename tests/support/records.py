"""Records of jobs for a store, and what a store has of them."""

from jobworker.jobs.query import Query
from jobworker.jobs.record import JobRecord, ProcessRecord, new_id
from jobworker.jobs.store import Store
from jobworker.model import Job, JobSpec, State


def record(state: State = State.CREATED, owner: str = "token:a", key: str | None = None, **labels: str) -> JobRecord:
    spec = JobSpec(shell="echo ü", labels=labels)
    job = Job(id=new_id(), name="n", state=state, spec=spec, owner=owner, created_at="2026", labels=labels)
    return JobRecord(job=job, key=key, process=ProcessRecord())


async def page(store: Store, **how: object) -> list[str]:
    return [each.job.id for each in (await store.page(Query(**how)))[0]]  # type: ignore[arg-type]
