"""Inherit the jobs of a keeper that died, and pass their exit status to the next keeper.

The agent started the keeper and is a subreaper, so the orphans become its children. Their status is read without
reaping them; they are reaped when the next keeper has recorded it.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from jobworker.host.process_tree import Process
from jobworker.linux.proc import PF_FORKNOEXEC, group_of, stat_of
from jobworker.linux.syscalls import become_subreaper

ChildEnded = Callable[[int, int | None, int | None], Awaitable[bool]]


class Reaper:
    """Calls `child_ended(pid, code, signal)` for each ended child; it returns whether to reap the child."""

    def __init__(self, child_ended: ChildEnded) -> None:
        self._child_ended = child_ended
        self._loop = asyncio.get_running_loop()
        self._running: asyncio.Task[None] | None = None
        self._again = False  # a child may have ended since the running task listed them
        become_subreaper()
        signal.signal(signal.SIGCHLD, lambda *_: self._loop.call_soon(self.look))

    def look(self) -> None:
        """Handle the children that have ended, in one task at a time."""
        self._again = True
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while self._again:
            self._again = False
            for pid in zombies():
                info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # noqa: ASYNC222  # never waits
                if info is None:
                    continue
                exited = info.si_code == os.CLD_EXITED
                status = info.si_status
                if await self._child_ended(pid, status if exited else None, None if exited else status):
                    os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222


def zombies() -> list[int]:
    """Return our children that wait to be reaped, without those of our own session, which plugins started."""
    session = os.getsid(0)
    ended = []
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for pid in children:
            try:
                fields = stat_of(int(pid))
            except OSError:
                continue
            if fields[0] == "Z" and int(fields[3]) != session:
                ended.append(int(pid))
    return ended


def ended_in(group: str, keeper: int) -> Process | None:
    """Return the main process of the job with this cgroup, if it has ended and we inherited it.

    `keeper` is the pid of the keeper that died: it enters the cgroup of a job while it launches it.
    """
    for pid in zombies():
        try:
            own = group_of(pid).removesuffix(" (deleted)")
            fields = stat_of(pid)
        except OSError:
            continue
        executed = not int(fields[6]) & PF_FORKNOEXEC
        if executed and int(fields[3]) == pid != keeper and own and group.endswith(own):  # it leads a session
            return Process(pid, int(fields[19]), "")
    return None
