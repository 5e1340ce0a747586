"""Show the agent, on whatever host, that this runner lives, and sync what a network file system holds back."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from jobworker.formats import job_folder
from jobworker.linux.beneath import open_in_log
from jobworker.linux.lookup import device_of, local_devices

SYNC_SECONDS = 1.0  # between two syncs of the log, on a file system of another host
LOG_FILES = ("out", "err", "index", "first")


class Heartbeat:
    """The file of the heartbeat, which is overwritten in place, and what is to be synced in the folder of a job."""

    def __init__(self, folder: str, job: str, usage: Callable[[], dict[str, Any]]) -> None:
        self._log = f"{folder}/{job_folder.LOGS}/{job}"
        self._usage = usage
        self._count = 0
        self._next = self._next_sync = 0.0  # on CLOCK_MONOTONIC
        path = f"{folder}/{job_folder.HEARTBEAT}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        # On a file system whose server is another process or host, which learns of what is written by a sync.
        try:
            self.remote = device_of(self._fd) not in local_devices()
        except OSError:
            self.remote = True

    def beat(self) -> None:
        """Write the next heartbeat, and sync, if it is time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + job_folder.HEARTBEAT_SECONDS
            self._count += 1
            try:
                os.pwrite(self._fd, job_folder.encode_heartbeat(self._count, self._usage()), 0)
                if self.remote:
                    os.fdatasync(self._fd)
            except OSError as error:
                print(f"no heartbeat: {error}", file=sys.stderr, flush=True)
        if self.remote and now >= self._next_sync:
            self._next_sync = now + SYNC_SECONDS
            self.sync_log()

    def sync_log(self) -> None:
        """Have what the pump has written be on the disk, or on the server."""
        for name in LOG_FILES:
            try:
                file = open_in_log(self._log, name, os.O_RDONLY)
            except OSError:
                continue  # there is none yet
            try:
                os.fdatasync(file)
            except OSError as error:
                print(f"{name} cannot be synced: {error}", file=sys.stderr, flush=True)
            finally:
                os.close(file)

    def timeout(self) -> float:
        """Return the seconds until there is something to do."""
        return max(0.0, min(self._next, self._next_sync if self.remote else self._next) - time.monotonic())
