"""Find the processes of a job by a walk through /proc, if it has neither a cgroup nor a namespace.

A process is a job's by its session and its descent; else by the marker ``JOBWORKER_JOB_ID``, which children inherit,
if it runs as the job's user or as root, as any user may set a variable; else, if it is an orphan, by the job's pipes
that it holds. A variable makes no process another job's if it plainly descends from one. A process that has shed all
of these cannot be attributed: it is a child of the keeper, and may be of any job that was started before it.
"""

import asyncio
import os
import re
from collections.abc import Callable, Mapping, Set
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from jobworker.host.process_tree import (
    SWEEP_AGAIN_SECONDS,
    Process,
    below,
    cpu_seconds_of,
    process_of,
    processes,
    wait_exit,
)
from jobworker.host.procfs import ProcReader, run_with_stuck_guard
from jobworker.linux.proc import MARKER, children_of, has_ended, named_stat_of, user_of

PIPE = re.compile(r"/([0-9a-z]{12})\.(out|err)( \(deleted\))?$")  # the name of a job's FIFO, open in a process
# What stands in a command line of ours after the interpreter: keeper and pump, and the agent in the background.
OURS = re.compile(rb"-I\0-S\0[^\0]*/(keeper|pump)/__main__\.py\0|-P\0-m\0jobworker\0")
PREFIX = f"{MARKER}=".encode()
LOOKS = 20  # at the children of the keeper: one that keeps forking and exiting is another process each time


class Neighbours(NamedTuple):
    """What else runs on the host and is no part of a job, whatever it descends from."""

    keeper: int = 0  # the pid of the keeper; 0: there is none now
    own: frozenset[int] = frozenset()  # pids of agent, keeper and pump
    mains: Mapping[int, tuple[str, int]] = MappingProxyType(
        {}
    )  # by the pid of a main process: its job, and its start (0: unknown)


ALONE = Neighbours()


class SweepTree:
    """The tree is the processes that a walk through /proc attributes to the job."""

    method = "sweep"

    def __init__(
        self,
        job: str,
        main: int,
        start: int = 0,
        neighbours: Callable[[], Neighbours] = lambda: ALONE,
        uid: int | None = None,
    ) -> None:
        self._job = job
        self._uid = uid
        self._main = main
        self._start = start
        self._neighbours = neighbours

    async def members(self) -> list[Process]:
        return await asyncio.to_thread(sweep, self._job, self._main, self._start, self._neighbours(), self._uid)

    async def cpu_seconds(self) -> float:
        return cpu_seconds_of(await self.members())

    async def wait_empty(self) -> None:
        pause = 0.0
        while members := await self.members():
            await asyncio.gather(*(wait_exit(process.pid, process.start) for process in members))
            await asyncio.sleep(pause)
            pause = SWEEP_AGAIN_SECONDS


class _Seen(NamedTuple):
    process: Process
    parent: int
    session: int


def sweep(
    job: str, main: int, start: int = 0, neighbours: Neighbours = ALONE, uid: int | None = None
) -> list[Process]:
    """Walk through /proc once. Blocking; a process that hangs in the kernel delays it, but not for ever.

    `start` (0: unknown) shows whether `main` is still the job's: a pid is used again only when neither a process nor
    a session of that number is left. `uid`: the user whose processes, besides those of root, have the job's marker
    rightly; None: any.
    """
    return run_with_stuck_guard(partial(_sweep, job, main, start, neighbours, uid))


def _sweep(
    job: str, main: int, start: int, neighbours: Neighbours, uid: int | None, reader: ProcReader
) -> list[Process]:
    seen = {process.pid: _Seen(process, int(fields[1]), int(fields[3])) for process, fields in processes()}
    own = neighbours.own | {os.getpid()}
    owners = _owners(seen, dict(neighbours.mains) | ({main: (job, start)} if main > 0 else {}), own)
    mine = {pid for pid, owner in owners.items() if owner == job}
    free = {pid: seen[pid].parent for pid, owner in owners.items() if not owner and pid not in own}
    marked = {pid for pid in free if _is_marked(seen[pid], job, neighbours.keeper, uid, reader)}
    found = [seen[pid].process for pid in sorted(below(free, mine | marked))]
    return found + _forked_since(job, seen.keys() | own, neighbours.keeper, uid, reader)


def _forked_since(job: str, known: Set[int], keeper: int, uid: int | None, reader: ProcReader) -> list[Process]:
    """Return the orphans with the job's marker that the walk did not see, as one that keeps forking and exiting.

    Of a process that keeps changing its pid, return the last that was seen.
    """
    looked_at = known | {0}
    found: list[Process] = []
    for _ in range(LOOKS if keeper else 0):
        try:
            new = children_of(keeper) - looked_at
        except OSError:
            break
        if not new:
            break
        looked_at |= new
        alive = [process for pid in new if (process := process_of(pid))]
        found += [one for one in alive if _marker_of(one, reader) == job != "" and _is_user(one.pid, uid)]
    return [one for one in found if process_of(one.pid) == one] or found[-1:]


def _owners(seen: dict[int, _Seen], mains: Mapping[int, tuple[str, int]], own: frozenset[int]) -> dict[int, str]:
    """Return by pid the job that a process plainly belongs to, "" if to none: by its session, else by its parent.

    What descends from processes of ours does not belong to the job that started those: all jobs do descend from them.
    """
    jobs = {pid: job for pid, (job, start) in mains.items() if _may_be(seen.get(pid), start)}
    owners = dict.fromkeys(own & seen.keys(), "")
    for pid in seen:
        line = []
        at = pid
        while at in seen and at not in owners:
            owners[at] = ""  # of the whole line, if its end is no job's; and a circle ends here
            line.append(at)
            if owner := jobs.get(at) or jobs.get(seen[at].session):
                owners |= dict.fromkeys(line, owner)
                break
            at = seen[at].parent
        else:
            owners |= dict.fromkeys(line, owners.get(at, ""))
    return owners


def _may_be(one: "_Seen | None", start: int) -> bool:
    """Whether a pid is, or was, that of the process with this start; 0: it is not known."""
    return one is None or not start or one.process.start == start


def _is_marked(one: _Seen, job: str, keeper: int, uid: int | None, reader: ProcReader) -> bool:
    """Whether a process has the job's marker rightly or, as an orphan that has none, the job's pipes."""
    marker = _marker_of(one.process, reader)
    if marker or one.parent != keeper or not keeper:
        return marker == job != "" and _is_user(one.process.pid, uid)
    # A fork of the keeper holds the pipes of all jobs until it executes its own: so look at the program first.
    return not _is_ours(one.process, reader) and job in _pipes_of(one.process.pid)


def _is_user(pid: int, uid: int | None) -> bool:
    """Whether a process runs as this user (None: as any), or as root; False if it has ended."""
    try:
        return uid is None or user_of(pid) in (uid, 0)
    except (OSError, StopIteration):
        return False


def _marker_of(process: Process, reader: ProcReader) -> str:
    """Return the job of the marker in a process's environment; "" if it has none, or cannot be read."""
    try:
        variables = reader.read(process.pid, process.start, "environ").split(b"\0")
    except OSError:
        return ""
    return next((os.fsdecode(each[len(PREFIX) :]) for each in variables if each.startswith(PREFIX)), "")


def _pipes_of(pid: int) -> set[str]:
    """Return the jobs whose pipes a process has open."""
    found = set()
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                if match := PIPE.search(os.readlink(entry.path)):
                    found.add(match[1])
    except OSError:
        pass  # it has ended, or is not ours to look into
    return found


def unattributed(job: str, start: int, neighbours: Neighbours) -> list[Process]:
    """Return the children of the keeper that may be of a job with this start (ticks), and of no other.

    Of a process that keeps changing its pid, return the last that was seen. Blocking, as `sweep`.
    """
    return run_with_stuck_guard(partial(_unattributed, job, start, neighbours)) if neighbours.keeper else []


def _unattributed(job: str, start: int, neighbours: Neighbours, reader: ProcReader) -> list[Process]:
    others = {pid for pid, (owner, _) in neighbours.mains.items() if owner != job}
    looked_at = neighbours.own | others
    found: list[Process] = []
    new = 0  # looks that have seen a process that was not there before
    for _ in range(LOOKS):
        try:
            children = children_of(neighbours.keeper) - looked_at
        except OSError:
            break
        looked_at |= children
        fresh = [one for pid in children if (one := _unknown(pid, job, start, others, reader))]
        new += bool(fresh)
        found += fresh
    # One that keeps changing its pid is gone at the next look, and there all the same.
    return [each for each in found if process_of(each.pid) == each] or (found[-1:] if new * 4 >= LOOKS else [])


def _unknown(pid: int, job: str, start: int, others: Set[int], reader: ProcReader) -> Process | None:
    """Return a child of the keeper that is not plainly ours or another job's; None also if it has ended."""
    try:
        name, fields = named_stat_of(pid)
    except OSError:
        return None
    process = Process(pid, int(fields[19]), name)
    if has_ended(fields) or process.start < start or int(fields[3]) in others:
        return None
    marker = _marker_of(process, reader)
    if marker not in ("", job) or _is_ours(process, reader) or _pipes_of(pid) - {job}:
        return None
    return process


def _is_ours(process: Process, reader: ProcReader) -> bool:
    """Whether a process is an agent, a keeper or a pump, or a fork of the keeper that will become a job."""
    try:
        return bool(OURS.search(reader.read(process.pid, process.start, "cmdline")))
    except OSError:
        return False
