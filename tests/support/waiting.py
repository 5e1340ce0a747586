"""Wait for what no event announces, with a deadline."""

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jobworker.host.inotify import Inotify
from jobworker.linux.proc import open_pidfd
from jobworker.testing.deadlines import DEADLINE, scaled

__all__ = ["DEADLINE", "T", "alive", "ends", "grown", "scaled", "until"]
T = TypeVar("T")


def ends(pid: int, deadline: float = DEADLINE) -> bool:
    """Wait on a pidfd; return whether the process ended in time."""
    try:
        pidfd = open_pidfd(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(deadline * 1000))
    finally:
        os.close(pidfd)


def alive(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds: what a file or /proc shows and no event announces."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0.02)


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
