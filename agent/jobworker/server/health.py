"""Answer probes, without a login: whether the agent lives, and whether it can start jobs now."""

import asyncio
import os
import time
from http import HTTPStatus

from jobworker.jobs.manager import JobManager
from jobworker.paths import Home

LIVE, READY = "/healthz", "/readyz"  # the paths
MIN_DISK_BYTES = 16 << 20  # free in the state folder, for records, the journal and the audit log
MIN_INODES = 100
CHECK_SECONDS = 1.0  # that a look at the disk counts: strangers may ask as often as they like
DISK_SECONDS = 2.0  # for the file system to answer
OK = "ok"


class Health:
    """The checks of one agent, by name: `ok`, or what is wrong in few words, which anyone may read."""

    def __init__(self, home: Home, jobs: JobManager) -> None:
        self._home = home
        self._jobs = jobs
        self._disk = ""  # the last look at the disk
        self._looked = float("-inf")  # when that was, on the monotonic clock
        self._looking: asyncio.Task[str] | None = None  # a look under way, which a dead file system holds up

    async def checks(self) -> dict[str, str]:
        """Return the result of each check."""
        return {
            "keeper": OK if self._jobs.link.holding else "not connected",
            "table": OK if self._jobs.writable else "cannot be written",
            "disk": await self._disk_room(),
            "starts": "draining" if self._jobs.drain.since else OK,
        }

    async def answer(self, path: str) -> tuple[HTTPStatus, str]:
        """Return the answer to a request for one of the paths."""
        if path == LIVE:
            return HTTPStatus.OK, "ok\n"
        checks = await self.checks()
        ready = all(result == OK for result in checks.values())
        text = "".join(f"{name}: {result}\n" for name, result in checks.items())
        return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, text

    async def _disk_room(self) -> str:
        if time.monotonic() - self._looked < CHECK_SECONDS:
            return self._disk
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(asyncio.to_thread(_room, self._home))
        try:
            async with asyncio.timeout(DISK_SECONDS):
                self._disk = await asyncio.shield(self._looking)
        except TimeoutError:
            self._disk = "does not answer"
        self._looked = time.monotonic()
        return self._disk


def _room(home: Home) -> str:
    try:
        disk = os.statvfs(home.path)
    except OSError:
        return "cannot be read"
    if disk.f_flag & os.ST_RDONLY:
        return "read-only"
    if disk.f_bavail * disk.f_frsize < MIN_DISK_BYTES:
        return "full"
    return "out of inodes" if disk.f_files and disk.f_favail < MIN_INODES else OK
