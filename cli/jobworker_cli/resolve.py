"""Find the id of a job from its id, a unique prefix of it, or a name (then the newest job of that name)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobworker.errors import JobNotFound, JobworkerError

if TYPE_CHECKING:
    from jobworker.client import Client as AsyncClient
    from jobworker.client.blocking import Client

ID_LENGTH = 12
PAGE_JOBS = 1000
MAX_CANDIDATES = 10


def job_id(client: "Client", text: str) -> str:
    """Return the id; raise JobNotFound, or JobworkerError with the candidates."""
    return str(find_job(client, text)["id"])


def find_job(client: "Client", text: str) -> dict[str, Any]:
    """Return the job as its status; raise JobNotFound, or JobworkerError with the candidates."""
    if len(text) == ID_LENGTH:
        try:
            return dict(client.call("job.status", id=text))
        except JobNotFound:
            pass  # it may be a name
    jobs = list_all(client)
    chosen = choose(text, jobs)
    return next(job for job in jobs if job["id"] == chosen)


async def job_id_async(client: "AsyncClient", text: str) -> str:
    """Return the same over the other client."""
    jobs: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": PAGE_JOBS}
    if len(text) == ID_LENGTH:
        try:
            return (await client.status(text)).id
        except JobNotFound:
            pass
    while True:
        answer = await client.call("job.list", **params)
        jobs += answer["jobs"]
        if answer["next"] is None:
            return choose(text, jobs)
        params["cursor"] = answer["next"]


def list_all(client: "Client", states: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return all jobs as plain data, newest first."""
    jobs: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": PAGE_JOBS} | ({"states": list(states)} if states else {})
    while True:
        answer = client.call("job.list", **params)
        jobs += answer["jobs"]
        if answer["next"] is None:
            return jobs
        params["cursor"] = answer["next"]


def choose(text: str, jobs: Sequence[dict[str, Any]]) -> str:
    """Return the id that `text` means among jobs, which are newest first."""
    named = [job for job in jobs if job["name"] == text][:1]
    begun = [job for job in jobs if text and job["id"].startswith(text)]
    matches = {job["id"]: job for job in named + begun}
    if not matches:
        raise JobNotFound(f"there is no job {text[:80]!r}", hint="jw ps -a")
    if len(matches) > 1:
        shown = [f"{job['id']} ({job['name'] or 'no name'})" for job in list(matches.values())[:MAX_CANDIDATES]]
        more = f" and {len(matches) - MAX_CANDIDATES} more" if len(matches) > MAX_CANDIDATES else ""
        raise JobworkerError(
            f"{text!r} is ambiguous: it matches {', '.join(shown)}{more}", hint="use the whole id, see `jw ps -a`"
        )
    return str(next(iter(matches)))
