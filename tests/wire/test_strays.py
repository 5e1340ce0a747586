"""Processes that are moved out of their job's cgroup, as by a login in the job: stop and pause still reach them."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import DEADLINE, alive
from tests.wire.test_stop import start

from jobworker.linux.cgroupfs import find_hierarchy
from jobworker.linux.proc import group_of

if TYPE_CHECKING:
    from tests.support.wire import Wire

# Its session, its marker and its parent would be gone with the main process: only a look before that finds it.
# It is one process that forks no more: a child of it, forked between a look and its SIGKILL, nobody could attribute.
STUBBORN = "env -u JOBWORKER_JOB_ID setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' & "


class Elsewhere:
    """A cgroup that is not the job's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, *pids: int) -> None:
        self.folder.mkdir(exist_ok=True)
        for pid in pids:
            (self.folder / "cgroup.procs").write_text(str(pid))


@pytest.fixture
async def job_group(wire: "Wire") -> Path:
    """The folder of the cgroup of all jobs."""
    if (await wire.ask("agent.info"))["capabilities"]["stop"] != "cgroup":
        pytest.skip("jobs get no cgroup here")
    job = await wire.run(argv=["sleep", "1000"])
    hierarchy = find_hierarchy()
    assert hierarchy is not None
    return Path(hierarchy.folder(group_of(job["pid"]))).parent


@pytest.fixture
def elsewhere(job_group: Path) -> Iterator[Elsewhere]:
    elsewhere = Elsewhere(job_group.parent / f"elsewhere-{time.time_ns()}")
    yield elsewhere
    end = time.monotonic() + DEADLINE
    while elsewhere.folder.exists() and time.monotonic() < end:
        try:
            elsewhere.folder.rmdir()
        except OSError:  # its last process is being reaped
            time.sleep(0.01)


@pytest.mark.parametrize("main_too", [False, True])
async def test_a_stop_reaches_them(wire: "Wire", elsewhere: Elsewhere, main_too: bool) -> None:
    """Also one that nothing but its parent, which is gone by then, ties to the job; the receipt claims no proof."""
    job, (other,) = await start(wire, STUBBORN + "wait", stop={"grace": "200ms"})
    elsewhere.take(other, *([job["pid"]] if main_too else []))
    ended = await wire.ask("job.stop", id=job["id"])
    assert not alive(job["pid"])
    assert not alive(other)
    receipt = ended["exit"]["receipt"]
    assert (receipt["method"], receipt["proof"], receipt["survivors"]) == ("sweep", "best_effort", [])


async def test_a_moved_process_ends_as_requested(wire: "Wire", elsewhere: Elsewhere) -> None:
    job, _ = await start(wire, "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
    elsewhere.take(job["pid"])
    ended = await wire.ask("job.stop", id=job["id"])
    assert (ended["exit"]["code"], ended["exit"]["reason"]) == (7, "stopped")


async def test_a_pause_holds_them_too(wire: "Wire", elsewhere: Elsewhere) -> None:
    job, (other,) = await start(wire, "sleep 1000 & echo $!; wait")
    elsewhere.take(other)
    paused: dict[str, Any] = await wire.ask("job.pause", id=job["id"])
    assert paused["state"] == "paused"
    assert await _in_state(other, "T")
    await wire.ask("job.resume", id=job["id"])
    assert await _in_state(other, "S")
    await wire.ask("job.stop", id=job["id"])
    assert not alive(other)


async def _in_state(pid: int, state: str) -> bool:
    end = time.monotonic() + DEADLINE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.01)
    return True
