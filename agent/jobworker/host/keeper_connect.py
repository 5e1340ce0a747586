"""Connect to the keeper of a state folder, wherever it listens; start one if none runs."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jobworker.host.keeper_process import ask_to_listen, end_remains, find_former_keeper, find_keeper, start_keeper
from jobworker.host.process_tree import readable
from jobworker.linux.proc import open_pidfd
from jobworker.paths import Home
from jobworker.run_folder import is_ours, is_usable

log = logging.getLogger(__name__)

LISTEN_SECONDS = 5.0  # for a keeper without a socket to make one, or to end
LISTEN_RETRY_SECONDS = 0.05  # between two attempts to connect to it


class Connected(NamedTuple):
    """The pid of a keeper, 0 if it is not known, its run folder, and a connection to it."""

    pid: int
    run: Path
    socket: socket.socket


async def connect(home: Home, run: Path) -> Connected:
    """Return a connection to the keeper that runs, or start one in this run folder."""
    if (found := find_keeper(home)) is not None:
        pid, place = found
        if (connected := await _reach(home, pid, [place, *home.run_folders()])) is not None:
            return connected
    elif (connected := _connect_in([run], 0)) is not None:
        return connected
    await _end_former(home)
    if not is_usable(run):
        run = home.create_run_folder()
    # Children of a keeper that has died must not become jobs after the next one has looked for them.
    await asyncio.to_thread(end_remains, home, run, only_children=True)
    path = str(run / "keeper.sock")
    pid = start_keeper(home, run, path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)  # it is listening already: the socket was created here
    return Connected(pid, run, sock)


def _connect_in(places: Sequence[Path], pid: int) -> Connected | None:
    """Connect to the keeper that listens in the first of these run folders; None if none does."""
    for run in filter(is_ours, places):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(str(run / "keeper.sock"))
        except OSError:
            sock.close()
            continue
        return Connected(pid, run, sock)
    return None


async def _end_former(home: Home) -> None:
    """End a keeper that uses a former name of the state folder: the next one needs its lock."""
    pid = 0 if home.copied_from else find_former_keeper(home)
    if not pid:
        return
    try:
        pidfd = open_pidfd(pid)
    except ProcessLookupError:
        return
    try:
        if find_former_keeper(home) == pid:  # checked after pidfd_open
            log.warning("the keeper (pid %d) has a former name of the state folder: it is replaced", pid)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            await readable(pidfd)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


async def _reach(home: Home, pid: int, places: Sequence[Path]) -> Connected | None:
    """Return a connection to a keeper that runs; None if it has ended.

    If a cleaner removed its socket, it makes another. If it cannot, as one of a version before, it is killed, and the
    next one takes over its jobs.
    """
    if (connected := _connect_in(places, pid)) is not None:
        return connected
    try:
        pidfd = open_pidfd(pid)
    except ProcessLookupError:
        return None
    try:
        found = find_keeper(home)
        if found is None or found[0] != pid:  # checked after pidfd_open
            return None
        if ask_to_listen(pidfd, pid):
            log.warning("the socket of the keeper (pid %d) was removed: it makes another", pid)
        end = time.monotonic() + LISTEN_SECONDS
        while time.monotonic() < end:
            if (connected := _connect_in(places, pid)) is not None:
                return connected
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_RETRY_SECONDS):
                    await readable(pidfd)
                    return None
        log.error("the keeper (pid %d) cannot be reached and is replaced", pid)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        await readable(pidfd)
        return None
    finally:
        os.close(pidfd)
