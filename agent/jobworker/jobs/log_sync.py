"""With durability "power": write the logs of running jobs through to the disk, once a second.

A log that is closed is synced before that is reported; this bounds what a power cut takes of the others.
"""

import asyncio
import logging
from pathlib import Path

from jobworker.host.sync import sync_log
from jobworker.jobs.table import JobTable

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0  # between two rounds


class LogSync:
    """Syncs the logs whose index has grown; for the others it costs one stat."""

    def __init__(self, table: JobTable) -> None:
        self._table = table
        self._synced: dict[str, tuple[int, int]] = {}  # size and time of change of an index, by job

    async def run(self) -> None:
        """Sync once a second, until cancelled."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            records = [active.record for active in self._table]
            jobs = [record.job.id for record in records if record.process.started and not record.log.closed]
            self._synced = {job: size for job, size in self._synced.items() if job in set(jobs)}
            await asyncio.to_thread(self._sync, jobs)

    def _sync(self, jobs: list[str]) -> None:
        for job in jobs:
            folder: Path = self._table.log_folder(job)
            try:
                info = (folder / "index").stat()
                now = (info.st_size, info.st_mtime_ns)  # the last record can grow in place
                if self._synced.get(job) != now:
                    sync_log(folder)
                    self._synced[job] = now
            except FileNotFoundError:
                continue  # the job was silent so far, or is deleted
            except OSError as error:
                log.error("job %s: its log may not survive a power cut: it cannot be synced: %s", job, error)
