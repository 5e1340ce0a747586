"""Find the processes of a job and wait until all are gone: by its namespace or cgroup, else by `sweep`.

Namespace and cgroup are complete: no process of a plain user leaves them by itself, and `strays` finds processes
that were moved out of a cgroup.
"""

import asyncio
import errno
import os
import select
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jobworker.host.procfs import ProcReader, run_with_stuck_guard
from jobworker.linux.proc import (
    PF_FORKNOEXEC,
    TICKS_PER_SECOND,
    children_of,
    has_ended,
    named_stat_of,
    namespace_pids,
    pids,
    stat_of,
)

REREAD_SECONDS = 0.5  # between two readings of `cgroup.events`, if no notification comes
SWEEP_AGAIN_SECONDS = 0.02  # between two sweeps for a tree whose processes keep changing
RUNNER = "runner"  # of an executor: it is the ancestor of all of the job's processes
ENGINE = "engine"  # of an executor, by whose word a job is gone whose runner is gone too
QUEUE = "queue"  # the job was taken out of it before it began
PROOFS = {
    "namespace": "complete",
    "cgroup": "complete",
    "sweep": "best_effort",
    RUNNER: "complete",
    ENGINE: "best_effort",
    QUEUE: "complete",
}  # what an empty tree proves, by the way of finding it
COMMAND_CHARACTERS = 200  # of the command line of a survivor


class Process(NamedTuple):
    """A process and the start (ticks after boot) that tells it from a later one of the same pid."""

    pid: int
    start: int
    name: str


class Tree(Protocol):
    """All processes of one job."""

    method: str  # "namespace", "cgroup" or "sweep"

    async def members(self) -> list[Process]:
        """Return the living processes."""

    async def wait_empty(self) -> None:
        """Return when there is no living process."""

    async def cpu_seconds(self) -> float:
        """Return the seconds of CPU used so far; of a sweep, by living processes and their reaped children only."""


class CgroupTree:
    """The tree is the processes in the job's cgroup."""

    method = "cgroup"

    def __init__(self, group: Path) -> None:
        self._group = group

    async def members(self) -> list[Process]:
        found = []
        for folder, _, _ in os.walk(self._group):
            try:
                pids = Path(folder, "cgroup.procs").read_text().split()
            except OSError:
                continue
            found += [process for pid in pids if (process := process_of(int(pid)))]
        return found

    async def cpu_seconds(self) -> float:
        try:
            text = (self._group / "cpu.stat").read_text()
        except OSError:  # it is gone
            return 0.0
        return int(text.partition("usage_usec ")[2].split()[0]) / 1e6

    async def wait_empty(self) -> None:
        await self._while(b"populated 1")

    async def wait_frozen(self) -> None:
        """Return when the whole cgroup is frozen."""
        await self._while(b"frozen 0")

    async def _while(self, state: bytes) -> None:
        """Return when `cgroup.events` no longer has this line, or the group is gone."""
        try:
            fd = os.open(self._group / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        # An event loop waits for readability, and this file is always readable: a change is EPOLLPRI, which an epoll
        # of its own turns into readability.
        inner = select.epoll()
        try:
            inner.register(fd, select.EPOLLPRI)
            while state in _reread(fd):
                # The kernel drops the notification of a group that is removed within 10 ms of another one.
                try:
                    await asyncio.wait_for(readable(inner.fileno()), REREAD_SECONDS)
                except TimeoutError:
                    pass
                inner.poll(0)
        finally:
            inner.close()
            os.close(fd)


class NamespaceTree:
    """The tree is all descendants of the main process, and of the init that inherits its orphans."""

    method = "namespace"

    def __init__(self, init: int, init_start: int, main: int, start: int, group: CgroupTree | None = None) -> None:
        self._init = init
        self._init_start = init_start
        self._main = main
        self._start = start
        self._group = group

    async def members(self) -> list[Process]:
        """Return the living processes, without the init."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> list[Process]:
        roots = {self._init: self._init_start, self._main: self._start}
        found = {process.pid: (process, int(fields[1])) for process, fields in processes()}
        parents = {pid: parent for pid, (_, parent) in found.items()}
        mine = below(parents, {pid for pid, start in roots.items() if pid in found and found[pid][0].start == start})
        return [found[pid][0] for pid in sorted(mine - {self._init})]

    async def cpu_seconds(self) -> float:
        return await self._group.cpu_seconds() if self._group else cpu_seconds_of(await self.members())

    async def wait_empty(self) -> None:
        pause = 0.0
        while (members := await self.members()) or self._has_children():
            await asyncio.gather(*(wait_exit(process.pid, process.start) for process in members))
            await asyncio.sleep(pause)
            pause = SWEEP_AGAIN_SECONDS

    def _has_children(self) -> bool:
        """Whether the init has children: even one that was forked and orphaned during the walk through /proc."""
        init = process_of(self._init)
        if init is None or init.start != self._init_start:
            return False
        try:
            return any(map(process_of, children_of(self._init)))
        except OSError:
            return False

    async def wait_init(self) -> None:
        """Return when the init has ended, which it does after all others."""
        await wait_exit(self._init, self._init_start)


def init_process(members: Iterable[Process]) -> Process | None:
    """Return the process that is pid 1 of a namespace just below ours."""
    return next((process for process in members if namespace_pids(process.pid)[1:] == [1]), None)


def main_process(members: Iterable[Process]) -> Process | None:
    """Return the oldest process that leads a session: the one that the keeper launched.

    A child that has not executed the program yet is none: it was killed with its keeper, and may hang in the kernel.
    """
    leaders = []
    for process in members:
        try:
            fields = stat_of(process.pid)
        except OSError:
            continue
        if int(fields[3]) == process.pid and not int(fields[6]) & PF_FORKNOEXEC:
            leaders.append(process)
    return min(leaders, key=lambda process: (process.start, process.pid), default=None)


def processes() -> Iterator[tuple[Process, list[str]]]:
    """Yield every living process once, with its `stat_of`."""
    for pid in pids():
        try:
            name, fields = named_stat_of(pid)
        except (OSError, IndexError):
            continue
        if not has_ended(fields):
            yield Process(pid, int(fields[19]), name), fields


def below(parents: dict[int, int], roots: set[int]) -> set[int]:
    """Return these processes and all that descend from them."""
    mine = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return mine


def cpu_seconds_of(members: Iterable[Process]) -> float:
    ticks = 0
    for process in members:
        try:
            ticks += sum(int(field) for field in stat_of(process.pid)[11:15])
        except OSError:  # it has just ended
            continue
    return ticks / TICKS_PER_SECOND


async def described(found: list[Process]) -> list[dict[str, Any]]:
    """Return `pid`, `name` and `command` (None if it cannot be read) of each process."""
    return await asyncio.to_thread(run_with_stuck_guard, partial(_describe, found)) if found else []


def _describe(found: list[Process], reader: ProcReader) -> list[dict[str, Any]]:
    return [{"pid": process.pid, "name": process.name, "command": _command(process, reader)} for process in found]


def _command(process: Process, reader: ProcReader) -> str | None:
    try:
        words = reader.read(process.pid, process.start, "cmdline").rstrip(b"\0").replace(b"\0", b" ")
    except OSError:
        return None
    return words.decode(errors="replace")[:COMMAND_CHARACTERS] or None


def process_of(pid: int) -> Process | None:
    """Return a process if it is alive."""
    try:
        name, fields = named_stat_of(pid)
    except OSError:
        return None
    return Process(pid, int(fields[19]), name) if not has_ended(fields) else None


async def wait_exit(pid: int, start: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if (process := process_of(pid)) and process.start == start:
            await readable(pidfd)
    finally:
        os.close(pidfd)


async def readable(fd: int) -> None:
    """Wait until there is something to read, which for a pidfd is the end of the process."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


def _reread(fd: int) -> bytes:
    try:
        return os.pread(fd, 256, 0)
    except OSError as error:
        if error.errno != errno.ENODEV:  # the cgroup was removed, as only an empty one can be
            raise
        return b""
