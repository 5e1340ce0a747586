"""Wait for what no event announces, with a deadline."""

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jobworker.host.inotify import Inotify

DEADLINE = 10.0  # seconds
T = TypeVar("T")


def ends(pid: int, deadline: float = DEADLINE) -> bool:
    """Wait on a pidfd; return whether the process ended in time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(deadline * 1000))
    finally:
        os.close(pidfd)


async def grown(parent: Path, folder: Path, done: Callable[[], T | None]) -> T:
    """Return what `done` returns, asked anew whenever a file in the folder has grown."""
    inotify, news = Inotify(), asyncio.Event()
    try:
        inotify.watch(parent, lambda _: news.set())
        watching = False
        async with asyncio.timeout(DEADLINE):
            while True:
                news.clear()
                if not watching and folder.exists():
                    inotify.watch(folder, lambda _: news.set())
                    watching = True
                if (result := done()) is not None:
                    return result
                await news.wait()
    finally:
        inotify.close()
