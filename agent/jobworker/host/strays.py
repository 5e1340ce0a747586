"""Find the processes of a job that are not in its cgroup: moved by a login (`su`), by an operator, or by themselves.

They are those that descend from the main process or from what is in the cgroup, and their descendants. One whose
parent had ended before it was looked for cannot be attributed: so what a tree with strays proves is "best_effort".
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Set
from pathlib import Path

from jobworker.host.process_tree import SWEEP_AGAIN_SECONDS, CgroupTree, Process, process_of, wait_exit
from jobworker.host.sweep import Neighbours


class StrayTree:
    """What is in the job's cgroup, and what has left it."""

    method = "sweep"

    def __init__(self, group: CgroupTree, main: int, start: int, neighbours: Callable[[], Neighbours]) -> None:
        self._group = group
        self._neighbours = neighbours
        self._main = (main, start)
        self.inside: set[int] = set()  # pids that were in the cgroup at the last look
        self._seen: dict[int, int] = {}  # strays of earlier looks, by pid: their start; their parents may end

    async def strays(self) -> list[Process]:
        """Return those that are not in the cgroup."""
        inside = await self._inside()
        roots = [pid for pid, start in [self._main, *self._seen.items()] if _is(pid, start)]
        related = _with_descendants([*inside, *roots], self._neighbours().own)
        outside = [process for pid in related - inside if (process := process_of(pid))]
        if outside:
            # A process that was forked since the first reading is in the cgroup. One that is still alive after the
            # second reading was alive during it: if it is not there, it has really left.
            inside |= await self._inside()
            outside = [
                process for process in outside if process.pid not in inside and _is(process.pid, process.start)
            ]
        self.inside = inside
        self._seen.update((process.pid, process.start) for process in outside)
        return outside

    async def _inside(self) -> set[int]:
        return {process.pid for process in await self._group.members()}

    async def members(self) -> list[Process]:
        return [*await self._group.members(), *await self.strays()]

    async def cpu_seconds(self) -> float:
        return await self._group.cpu_seconds()

    async def wait_empty(self) -> None:
        while strays := await self.strays():
            await asyncio.gather(*(wait_exit(process.pid, process.start) for process in strays))
            await asyncio.sleep(SWEEP_AGAIN_SECONDS)
        await self._group.wait_empty()


def _is(pid: int, start: int) -> bool:
    process = process_of(pid)
    return process is not None and process.start == start


def _with_descendants(pids: Iterable[int], own: Set[int]) -> set[int]:
    """Return these and all that descend from them, without processes of ours and what descends from those."""
    found = set(pids) - own
    queue = list(found)
    while queue:
        fresh = set(_children(queue.pop())) - found - own
        found |= fresh
        queue += fresh
    return found


def _children(pid: int) -> Iterator[int]:
    """Yield the children that the threads of a process have."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            yield from map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    except OSError:
        return  # it has ended
