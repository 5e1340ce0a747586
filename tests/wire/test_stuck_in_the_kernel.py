"""A process that hangs in the kernel, so that no signal ends it, is named and delays no other job."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import RunningAgent
from tests.support import silent_fuse
from tests.support.blind import BLIND
from tests.support.waiting import DEADLINE

from jobworker.client import Client
from jobworker.errors import InvalidState, StopIncomplete
from jobworker.model import Job, JobSpec, Reason, State, StopSpec
from jobworker.paths import Home

LIMITS = '[jobs]\ngrace = "100ms"\nstop_limit = "300ms"\n'
pytestmark = pytest.mark.slow
# A thread lets go of a page that has to be written back first, and holds the memory map meanwhile; another wants to
# change the map, and whoever wants to read `environ` or `cmdline` waits behind that one.
HOLDS_ITS_MAP = """
import ctypes, os, sys, threading
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
page = libc.mmap(None, 4096, 3, 1, os.open(sys.argv[1] + "/dirty", os.O_RDWR), 0)
ctypes.memset(page, 1, 1)
threading.Thread(target=libc.munmap, args=(page, 4096)).start()
sys.stdin.readline()
libc.mmap(None, 4096, 3, 0x22, -1, 0)
"""


class Silent:
    """A file system whose answers to some requests never come, until it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, silent_fuse.__file__, str(folder)]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said = self.hear()

    def hear(self) -> str:
        assert self.server.stdout is not None
        return self.server.stdout.readline().strip()

    async def held(self) -> None:
        """Return when a process hangs."""
        async with asyncio.timeout(DEADLINE):
            assert await asyncio.to_thread(self.hear) == "held"

    def end(self) -> None:
        """Release all processes that hang, with an error."""
        self.server.kill()
        self.server.wait()


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Silent]:
    folder = tmp_path / "silent"
    folder.mkdir()
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened here")
    made = Silent(folder)
    if made.said != "mounted":
        made.server.communicate()
        pytest.skip(f"no file system can be mounted here: {made.said}")
    yield made
    made.end()
    assert made.server.stdout is not None
    made.server.stdout.close()
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@pytest.fixture(params=[[], BLIND], ids=["cgroup", "sweep"])
async def agent(home: Home, silent: Silent, request: pytest.FixtureRequest) -> AsyncIterator[RunningAgent]:
    """An agent that finds processes by the best method that the host offers, and one that sweeps."""
    running = RunningAgent(home, config=LIMITS, under=request.param)
    running.start()
    yield running
    silent.end()
    await running.clean()


async def hang(client: Client, silent: Silent) -> Job:
    """Start a job whose main process hangs."""
    job = await client.create(JobSpec(argv=["cat", f"{silent.folder}/held"], timeout=None))
    started = await client.start(job.id)
    await silent.held()
    return started


async def stop_in_vain(client: Client, job: Job) -> list[dict[str, Any]]:
    """Stop a job that cannot be stopped, and return the survivors."""
    with pytest.raises(StopIncomplete) as caught:
        await client.stop(job.id)
    survivors: list[dict[str, Any]] = caught.value.data["survivors"]
    assert all(str(one["pid"]) in caught.value.message for one in survivors)
    return survivors


async def others_are_fine(client: Client) -> None:
    """Run a job and stop another."""
    run = await client.run(JobSpec(shell="echo fine; exit 4"))
    assert [chunk.data async for chunk in run] == [b"fine\n"]
    other = await client.start((await client.create(JobSpec(argv=["sleep", "600"]))).id)
    stopped = (await client.stop(other.id)).exit
    assert stopped is not None
    assert (stopped.signal, stopped.reason) == ("SIGTERM", Reason.STOPPED)
    assert other.id in [job.id for job in await client.list()]


async def test_it_is_named_and_in_nobodys_way(agent: RunningAgent, silent: Silent) -> None:
    """The stop answers with the survivor; others are served meanwhile; it ends when the kernel lets it go."""
    async with agent.client() as client, agent.client() as second:
        job = await hang(client, silent)
        stop = asyncio.create_task(stop_in_vain(client, job))
        while (await second.status(job.id)).state != State.STOPPING:
            pass
        await others_are_fine(second)
        expected = {"pid": job.pid, "name": "cat", "command": f"cat {silent.folder}/held"}
        assert await stop == [expected]
        assert (await second.status(job.id)).state == State.STOPPING
        assert f"live on: {job.pid}" in (await second.explain(job.id)).summary
        waiting = asyncio.create_task(client.wait(job.id))
        silent.end()
        ended = (await waiting).exit
        assert ended is not None
        assert (ended.code, ended.reason, ended.by) == (None, Reason.STOPPED, "local")
        assert ended.receipt is not None
        assert ended.receipt.steps[-1].action == "gone"
        assert (ended.receipt.survivors, ended.receipt.proof != "none") == ([], True)
        with pytest.raises(InvalidState):
            await client.stop(job.id)


async def test_the_agent_is_killed_meanwhile(agent: RunningAgent, silent: Silent) -> None:
    """The next agent starts and serves, continues the stop, and records the end."""
    async with agent.client() as client:
        other = await client.start((await client.create(JobSpec(argv=["sleep", "600"]))).id)
        job = await hang(client, silent)
        await stop_in_vain(client, job)
    agent.kill()
    agent.start()
    async with agent.client() as client:
        assert (await client.status(job.id)).state == State.STOPPING
        assert (await client.status(other.id)).state == State.RUNNING
        await others_are_fine(client)
        assert [one["pid"] for one in await stop_in_vain(client, job)] == [job.pid]
        silent.end()
        ended = (await client.wait(job.id)).exit
        assert ended is not None
        assert (ended.code, ended.reason, ended.by) == (None, Reason.STOPPED, "local")
        await client.stop(other.id)


async def test_a_child(agent: RunningAgent, silent: Silent) -> None:
    """Only the main process can be ended: the exit has that at once, and later that all processes are gone."""
    async with agent.client() as client:
        job = await client.create(JobSpec(shell=f"cat {silent.folder}/held & wait", timeout=None))
        await client.start(job.id)
        await silent.held()
        (survivor,) = await stop_in_vain(client, job)
        assert survivor["name"] == "cat"
        ended = (await client.wait(job.id)).exit
        assert ended is not None
        assert ended.reason == Reason.STOPPED
        assert ended.receipt is not None
        assert (ended.receipt.survivors, ended.receipt.proof) == ([survivor], "none")
        silent.end()
        async with asyncio.timeout(DEADLINE):
            while (exit_ := (await client.status(job.id)).exit) and exit_.receipt and exit_.receipt.survivors:
                pass
        assert exit_ is not None
        assert exit_.receipt is not None
        assert exit_.receipt.steps[-1].action == "gone"


async def test_its_memory_cannot_be_read(agent: RunningAgent, silent: Silent) -> None:
    """A sweep for other jobs skips it: many other stops, the next agent and the next keeper are not delayed."""
    program = silent.folder.parent / "program.py"
    program.write_text(HOLDS_ITS_MAP)
    async with agent.client() as client:
        others = [await client.start((await client.create(JobSpec(argv=["sleep", "600"]))).id) for _ in range(20)]
        shell = f"mkfifo {program}.go; exec {sys.executable} {program} {silent.folder} <> {program}.go"
        job = await client.create(JobSpec(shell=shell, timeout=None, stop=StopSpec(strategy="kill")))
        job = await client.start(job.id)
        await silent.held()
        Path(f"{program}.go").write_text("\n")
        assert job.pid is not None
        async with asyncio.timeout(DEADLINE):
            while not _holds_its_map(job.pid):
                await client.call("agent.ping")
        await asyncio.gather(*(client.stop(other.id) for other in others[1:]))
        await others_are_fine(client)
        os.kill((await client.call("agent.info"))["keeper"]["pid"], 9)
        await others_are_fine(client)
        (survivor,) = await stop_in_vain(client, job)
        assert (survivor["pid"], survivor["command"]) == (job.pid, None)
    agent.kill()
    agent.start()
    async with agent.client() as client:
        await client.stop(others[0].id)
        await others_are_fine(client)
        silent.end()
        await client.wait(job.id)


def _holds_its_map(pid: int) -> bool:
    """Whether both threads of a process hang."""
    states = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return states == ["D", "D"]


@pytest.mark.parametrize("strategy", ["kill", "graceful", "ladder"])
async def test_its_strategy_does_not_wait_it_out(home: Home, silent: Silent, strategy: str) -> None:
    """After the last signal the stop takes as long as SIGKILL is repeated, not as long as the strategy may take."""
    running = RunningAgent(home, config='[jobs]\nstop_limit = "10m"\n')
    running.start()
    steps = {"steps": [{"signal": "KILL"}]} if strategy == "ladder" else {}
    try:
        async with running.client() as client, asyncio.timeout(DEADLINE):
            job = await hang(client, silent)
            with pytest.raises(StopIncomplete) as caught:
                await client.stop(job.id, StopSpec(strategy=strategy, grace=0, options=steps))
            assert [one["pid"] for one in caught.value.data["survivors"]] == [job.pid]
    finally:
        silent.end()
        await running.clean()
