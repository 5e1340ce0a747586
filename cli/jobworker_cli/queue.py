"""Wait for a job that is in the queue of its executor, and show why it is there whenever that changes."""

from typing import TYPE_CHECKING, Any

from jobworker.errors import WaitTimeout
from jobworker_cli import describe, output
from jobworker_cli.retry import retry

if TYPE_CHECKING:
    from jobworker.client import Client as AsyncClient
    from jobworker.client.blocking import Client

LOOK_SECONDS = 1.0  # between two looks
Plain = dict[str, Any]


class Queue:
    """Notes on stderr that a job waits: once, and again when the reason changes."""

    def __init__(self) -> None:
        self._noted: str | None = None

    def note(self, job: Plain) -> bool:
        """Note why a job waits; return whether it does."""
        if job["state"] != "queued":
            if self._noted is not None and job.get("node") and job["started_at"]:
                output.note(f"job {job['id']}: started on {job['node']}")
            return False
        if (why := describe.queued(job)) != self._noted:
            output.note(f"job {job['id']}: queued" + (f": {why}" if why else ""))
            self._noted = why
        return True


def wait(client: "Client", job: Plain) -> None:
    """Return when the job is in no queue any more. Signals are acted on meanwhile, as in each wait for the agent."""
    queue, id_ = Queue(), job["id"]
    while queue.note(job):
        try:
            job = retry(client, lambda: client.call("job.wait", id=id_, timeout=LOOK_SECONDS))
        except WaitTimeout:
            job = retry(client, lambda: client.call("job.status", id=id_))


async def wait_async(client: "AsyncClient", job: Plain) -> None:
    """Do the same over the other client."""
    queue = Queue()
    while queue.note(job):
        try:
            job = await client.call("job.wait", id=job["id"], timeout=LOOK_SECONDS)
        except WaitTimeout:
            job = await client.call("job.status", id=job["id"])
