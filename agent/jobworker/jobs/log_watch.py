"""Notify a job's waiters whenever its log grows, while cursors follow it."""

import asyncio
import errno
import logging
from pathlib import Path

from jobworker.host.inotify import Inotify
from jobworker.jobs.active import ActiveJob
from jobworker.linux.inotify import IN_CREATE, IN_MOVE_SELF

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1  # between two notifications of a log that the kernel does not watch
WATCH_REFUSED = (
    errno.ENOSPC,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSYS,
    errno.EPERM,  # of a seccomp profile
)


class LogWatch:
    """Uses inotify; if the kernel refuses a watch, that log is polled ten times a second.

    A silent job has no log folder: until its first byte the folder of all logs is watched for it.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._inotify: Inotify | None = None  # None: refused, all logs are polled
        self._followers: dict[str, tuple[ActiveJob, int]] = {}  # by job: the job, and how many cursors follow it
        self._poll: asyncio.TimerHandle | None = None  # of the next round
        self._polled: set[str] = set()  # ids of the jobs whose logs are polled
        try:
            self._inotify = Inotify()
            self._watch_all()
        except OSError as error:
            self._give_up(error)

    @property
    def notification(self) -> str:
        """How new output is noticed: `inotify`, or `poll` if a watch was refused for some log."""
        return "poll" if self._inotify is None or self._polled else "inotify"

    def _give_up(self, error: OSError) -> None:
        if error.errno not in WATCH_REFUSED:
            raise error
        log.error("inotify is refused (%s): logs are polled every %g s", error.strerror, POLL_SECONDS)
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def follow(self, active: ActiveJob) -> None:
        """Notify the job of new output, until `unfollow` was called as often."""
        _, count = self._followers.get(active.id, (active, 0))
        self._followers[active.id] = active, count + 1
        if count:
            return
        if self._inotify is not None and active.is_created() and not (active.starting or active.record.active):
            active.silent = True  # its log folder appears after its launch: no need to look for it
            return
        # After it is in the table: a folder that is created in between is noticed here or in `_appeared`.
        active.silent = not self._watch(active)

    def _watch_all(self) -> None:
        """Watch the folder of all logs; make it again if it was removed."""
        assert self._inotify is not None
        self._logs.mkdir(mode=0o700, exist_ok=True)
        self._inotify.watch(self._logs, self._appeared, IN_CREATE | IN_MOVE_SELF)

    def _appeared(self, job: str) -> None:
        if not job and self._inotify is not None:  # events were dropped, or the folder was removed or renamed
            try:
                self._watch_all()
            except OSError as error:
                log.error("%s: %s: new logs are noticed late", self._logs, error.strerror)
        followers = [self._followers.get(job)] if job else list(self._followers.values())
        for active, _ in filter(None, followers):
            if active.watch is None and self._watch(active):
                active.silent = False
                active.notify()  # for the output that is already in it

    def _watch(self, active: ActiveJob) -> bool:
        if self._inotify is not None:
            try:
                active.watch = self._inotify.watch(self._logs / active.id, lambda _: active.notify())
                return True
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno not in WATCH_REFUSED:
                    raise
                log.warning("job %s: its log cannot be watched (%s) and is polled", active.id, error.strerror)
        self._polled.add(active.id)
        if self._poll is None:
            self._poll = asyncio.get_running_loop().call_later(POLL_SECONDS, self._look)
        return True

    def _look(self) -> None:
        self._poll = None
        for job in self._polled:
            self._followers[job][0].notify()
        if self._polled:
            self._poll = asyncio.get_running_loop().call_later(POLL_SECONDS, self._look)

    def unfollow(self, active: ActiveJob) -> None:
        _, count = self._followers.pop(active.id)
        if count > 1:
            self._followers[active.id] = active, count - 1
            return
        self._polled.discard(active.id)
        active.silent = False
        if active.watch is not None and self._inotify is not None:
            self._inotify.unwatch(active.watch)
            active.watch = None

    def close(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
        if self._inotify is not None:
            self._inotify.close()
