"""Promise 3: no process escapes a stop, be it one that multiplies, runs from pid to pid or hides in a namespace."""

import asyncio
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.conftest import RunningAgent
from tests.support.blind import BLIND
from tests.support.waiting import DEADLINE
from tests.torture import stops
from tests.torture.outcome import judge

from jobworker.client import Client
from jobworker.errors import StopIncomplete
from jobworker.model import Exit, Job, JobSpec, State
from jobworker.paths import Home

PIDS = Path("/sys/fs/cgroup/pids")  # of cgroup v1
MOST = 200  # processes that a job may have at once
ENTER = "import os, sys, time; open(sys.argv[1], 'w').write('0'); len(sys.argv) > 2 or print('up', flush=True)\n"
BOMB = """
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
"""
RUNNER = """
while True:
    if os.fork():
        os._exit(0)
"""
RUNAWAY = """
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
"""


class Crowd:
    """All processes of a job, be they the agent's to find or not: by a cgroup v1 of the test's own."""

    def __init__(self, group: Path) -> None:
        self.procs = group / "cgroup.procs"
        self.entry = f"/proc/{os.getpid()}/root{self.procs}"  # also where an agent has this mount hidden
        self._most = group / "pids.max"
        self.bounded = self._most.exists()
        if self.bounded:
            self._most.write_text(str(MOST))

    def pids(self) -> set[int]:
        return {int(pid) for pid in self.procs.read_text().split()} - {0}  # that is one of another pid namespace

    def kill(self) -> None:
        """Keep them from forking, and kill them."""
        if self.bounded:
            self._most.write_text("0")
        while pids := self.pids():
            for pid in pids:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue


@pytest.fixture
def hierarchy(tmp_path: Path) -> Iterator[Path]:
    """A hierarchy of cgroup v1, in which a job may be beside its cgroup v2; it has no controllers if v2 has them."""
    if (PIDS / "cgroup.procs").exists():
        yield PIDS
        return
    folder = tmp_path / "crowds"
    folder.mkdir()
    command = ["mount", "-t", "cgroup", "-o", "none,name=jobworker-test", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no cgroup v1 can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def crowd(hierarchy: Path) -> Iterator[Crowd]:
    group = hierarchy / f"jobworker-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup v1 can be made here: {error}")
    crowd = Crowd(group)
    yield crowd
    crowd.kill()
    group.rmdir()


@pytest.fixture
def bounded_crowd(crowd: Crowd) -> Crowd:
    """A crowd that no bomb makes larger than this host can bear."""
    if not crowd.bounded:
        pytest.skip("the number of processes cannot be limited here by cgroup v1")
    return crowd


@pytest.fixture(params=[[], BLIND], ids=["cgroup", "sweep"])
async def either(home: Home, request: pytest.FixtureRequest) -> AsyncIterator[RunningAgent]:
    """An agent that finds processes by the best method that the host offers, and one that sweeps."""
    running = RunningAgent(home, config='[jobs]\ngrace = "200ms"\nstop_limit = "1s"\n', under=request.param)
    running.start()
    yield running
    await running.clean()


async def start(client: Client, crowd: Crowd, program: str, *arguments: str) -> Job:
    """Run a Python program in the crowd; return when it, or a program that it executes, has written that it is up."""
    argv = ["python3", "-c", ENTER + program, crowd.entry, *arguments]
    run = await client.run(JobSpec(argv=argv, timeout=None))
    async for chunk in run:
        assert chunk.data == b"up\n"
        break
    return run.job


async def stop(client: Client, job: Job) -> Exit | None:
    """Stop a job and return its exit, or None if the answer names survivors."""
    try:
        return (await client.stop(job.id)).exit
    except StopIncomplete:
        return None


def is_complete(exit_: Exit | None) -> bool:
    """Whether the stop proves that no process is left."""
    return exit_ is not None and exit_.receipt is not None and exit_.receipt.proof == "complete"


async def stop_method(client: Client) -> str:
    return str((await client.call("agent.info"))["capabilities"]["stop"])


@pytest.mark.slow
@pytest.mark.parametrize("program", [BOMB, RUNNER, RUNAWAY], ids=["bomb", "runner", "runaway"])
async def test_a_job_that_forks_as_fast_as_it_can(either: RunningAgent, bounded_crowd: Crowd, program: str) -> None:
    """A cgroup has all of them. A sweep may miss one that keeps changing its pid, and never has a complete proof."""
    crowd = bounded_crowd
    async with either.client() as client:
        job = await start(client, crowd, program)
        async with asyncio.timeout(DEADLINE):
            while program is BOMB and len(crowd.pids()) < MOST:
                await client.call("agent.ping")
        ended = await stop(client, job)
        by_cgroup = await stop_method(client) == "cgroup"
        assert is_complete(ended) == by_cgroup
        assert ended is None or crowd.pids() == set() or (program is RUNAWAY and not by_cgroup)
        crowd.kill()


INSIDE = "setsid sleep 600 & (trap '' TERM; sleep 600) & echo up; wait"
HIDES = {
    "pid namespace": ["unshare", "-pf", "sh", "-c", INSIDE],
    "user and pid namespace": ["unshare", "-Ur", "-pf", "sh", "-c", INSIDE],
    "plain user's": ["setpriv", "--reuid=65534", "--clear-groups", "unshare", "-Ur", "-pf", "sh", "-c", INSIDE],
    "stopped": ["sh", "-c", "sleep 600 & setsid sleep 600 & kill -STOP $!; echo up; kill -STOP $$"],
}


@pytest.mark.parametrize("kind", HIDES)
async def test_a_job_that_hides_or_is_stopped(either: RunningAgent, crowd: Crowd, kind: str) -> None:
    """Its own pids, its own users or a SIGSTOP: the stop ends it all the same, from outside."""
    if kind != "stopped" and (refused := unshared(HIDES[kind])):
        pytest.skip(f"no namespace can be made here: {refused}")
    async with either.client() as client:
        job = await start(client, crowd, "os.execvp(sys.argv[2], sys.argv[2:])", *HIDES[kind])
        ended = await stop(client, job)
        assert crowd.pids() == set()
        assert ended is not None, "nobody outlives it"
        assert is_complete(ended) == (await stop_method(client) == "cgroup")


def unshared(command: list[str]) -> str:
    """Return why the namespaces that a command makes cannot be made, if that is so."""
    tried = [*command[: command.index("sh")], "true"]
    return subprocess.run(tried, capture_output=True, text=True, check=False).stderr.strip()


@pytest.mark.slow
async def test_a_paused_bomb(either: RunningAgent, bounded_crowd: Crowd) -> None:
    """It is let go on by a stop, and does not get away in that moment."""
    crowd = bounded_crowd
    async with either.client() as client:
        job = await start(client, crowd, BOMB)
        async with asyncio.timeout(DEADLINE):
            while len(crowd.pids()) < MOST:
                await client.call("agent.ping")
        assert (await client.pause(job.id)).state == State.PAUSED
        assert await stop(client, job) is not None
        assert crowd.pids() == set()


async def test_trees_are_stopped(tmp_path: Path) -> None:
    """A process that tries to escape is gone when the stop answers, as surely as the receipt's method can know."""
    judge(await stops.trees_are_stopped(tmp_path / "t", 5, blind=False))
