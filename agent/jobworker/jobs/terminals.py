"""Terminals of jobs: change their size."""

from jobworker.errors import InvalidState
from jobworker.host.keeper_link import KeeperLink
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.claims import require_writer


class Terminals:
    """The verbs for jobs with a terminal."""

    def __init__(self, link: KeeperLink) -> None:
        self._link = link

    async def resize(self, active: ActiveJob, rows: int, cols: int, lease: int | None) -> None:
        """Change the size; raise InvalidState if the job has no open terminal, NotTheWriter if it is another's."""
        job = active.record.job
        if job.spec.terminal() is None:
            text = f"job {active.id} has no terminal"
            raise InvalidState(text, hint="create it with `tty` in its spec", state=job.state)
        require_writer(active, lease)
        answer = await self._link.insist("resize", id=active.id, rows=rows, cols=cols)
        if answer.get("gone"):
            raise InvalidState(f"job {active.id}: its terminal is closed", state=active.record.job.state)
