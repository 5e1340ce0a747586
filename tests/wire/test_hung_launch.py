"""Launches that hang in execve end by themselves after five seconds, and cost no other job anything."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import RunningAgent

from jobworker.client import Client
from jobworker.errors import ExecFailed, InvalidSpec
from jobworker.linux.proc import PF_FORKNOEXEC
from jobworker.model import JobSpec, Reason
from jobworker.paths import Home

HUNG = 16


@pytest.fixture
def leased() -> Iterator[Path]:
    """A program whose execve hangs as long as the test holds a lease on it, in a folder that all users can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    program = folder / "program"
    shutil.copy("/bin/true", program)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # we are asked to give it back, and do not
    fd = os.open(program, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    yield program
    os.close(fd)
    signal.signal(signal.SIGIO, before)
    shutil.rmtree(folder)


async def start(client: Client, spec: JobSpec) -> str:
    """Create and start a job; return its id."""
    return (await client.start((await client.create(spec)).id)).id


@pytest.mark.parametrize("user", [None, pytest.param("nobody", marks=pytest.mark.slow)])
async def test_hung_launches_delay_no_other_job(client: Client, leased: Path, user: str | None) -> None:
    """Others start, end, are stopped and reach their time limit before the first of the launches is given up."""
    if user is not None and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    running = await start(client, JobSpec(argv=["sleep", "600"]))
    limited = await start(client, JobSpec(argv=["sleep", "600"], timeout="1s"))
    hung = [(await client.create(JobSpec(argv=[str(leased)], user=user))).id for _ in range(HUNG)]
    starts = [asyncio.create_task(client.start(job)) for job in hung]
    other = await client.run(JobSpec(shell="echo in time; exit 3"))
    output = b"".join([chunk.data async for chunk in other])
    stopped = await client.stop(running)
    timed_out = await client.wait(limited, 20)
    assert not any(task.done() for task in starts), "one of these has waited for the launches"
    assert output == b"in time\n"
    assert other.end is not None
    assert other.end.exit is not None
    assert other.end.exit.code == 3
    assert stopped.exit is not None
    assert (stopped.exit.reason, stopped.exit.signal) == (Reason.STOPPED, "SIGTERM")
    assert timed_out.exit is not None
    assert timed_out.exit.reason == Reason.TIMEOUT
    async with asyncio.timeout(60):
        for failed in await asyncio.gather(*starts, return_exceptions=True):
            assert isinstance(failed, ExecFailed), failed
            assert failed.data["step"] == "exec"
            assert "hung" in failed.message
    for job in hung:
        ended = await client.status(job)
        assert ended.exit is not None
        assert ended.exit.reason == Reason.START_FAILED
    left = [pid for pid in os.listdir("/proc") if pid.isdigit() and executes(pid, leased)]
    assert left == []


async def test_starts_of_one_principal_wait_for_each_other(home: Home, leased: Path) -> None:
    """Two are under way at once, as configured; each of the others begins when one has ended."""
    agent = RunningAgent(home, "[limits]\nstarts_per_principal = 2\n")
    agent.start()
    try:
        async with agent.client() as client:
            hung = [(await client.create(JobSpec(argv=[str(leased)]))).id for _ in range(4)]
            starts = [asyncio.create_task(client.start(job)) for job in hung]
            last = asyncio.create_task(start(client, JobSpec(argv=["true"])))
            for failed in await asyncio.gather(*starts, return_exceptions=True):
                assert isinstance(failed, ExecFailed), failed
            await client.wait(await last, 20)
    finally:
        await agent.clean()
    under_way, most = 0, 0
    for line in home.journal.read_bytes().splitlines():
        entry = json.loads(line)
        under_way += {"launching": 1, "started": -1, "start_failed": -1}.get(entry["event"], 0)
        most = max(most, under_way)
    assert (most, under_way) == (2, 0)


async def test_a_long_search_path_is_refused(client: Client) -> None:
    """Each folder of it is looked into at a start; the error has the number and the limit."""
    with pytest.raises(InvalidSpec, match=r"PATH has 1025 folders; expected at most 1024"):
        await client.create(JobSpec(argv=["true"], env={"PATH": "/nowhere:" * 1024 + "/usr/bin"}))
    job = await start(client, JobSpec(argv=["true"], env={"PATH": "/nowhere:" * 1023 + "/usr/bin"}))
    ended = await client.wait(job, 20)
    assert ended.exit is not None
    assert ended.exit.code == 0


async def test_a_launch_that_hangs_when_its_keeper_dies(client: Client, leased: Path) -> None:
    """It does not become a job later: what is left of it is killed, and the others go on."""
    running = await start(client, JobSpec(argv=["sleep", "600"]))
    hung = (await client.create(JobSpec(argv=[str(leased)]))).id
    starting = asyncio.create_task(client.start(hung))
    keeper = int((await client.call("agent.info"))["keeper"]["pid"])
    async with asyncio.timeout(20):
        while len(children(keeper)) < 3:  # the pump, the job that runs, the child that hangs  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    (child,) = (pid for pid in children(keeper) if hangs(pid))
    os.kill(keeper, signal.SIGKILL)
    async with asyncio.timeout(30):
        await asyncio.gather(starting, return_exceptions=True)
    ended = await client.status(hung)
    assert ended.exit is not None
    assert ended.exit.reason in (Reason.LOST, Reason.START_FAILED)
    assert not executes(child, leased)
    assert not hangs(child)
    stopped = await client.stop(running)
    assert stopped.exit is not None
    assert stopped.exit.reason == Reason.STOPPED


async def test_a_launch_that_hangs_when_its_agent_dies(agent: RunningAgent, leased: Path) -> None:
    """The next agent learns what became of it from the journal, and starts nothing twice."""
    async with agent.client() as client:
        hung = (await client.create(JobSpec(argv=[str(leased)]))).id
        late = (await client.create(JobSpec(argv=[str(leased)]))).id
        starts = [asyncio.create_task(client.start(job)) for job in (hung, late)]
        keeper = int((await client.call("agent.info"))["keeper"]["pid"])
        async with asyncio.timeout(20):
            while sum(map(hangs, children(keeper))) < 2:  # noqa: ASYNC110  # no event announces them
                await asyncio.sleep(0.01)
        agent.kill()
        await asyncio.gather(*starts, return_exceptions=True)
    agent.start()
    async with agent.client() as client:
        assert int((await client.call("agent.info"))["keeper"]["pid"]) == keeper
        for job in (hung, late):
            ended = await client.wait(job, 30)
            assert ended.exit is not None
            assert (ended.exit.reason, ended.exit.step) == (Reason.START_FAILED, "exec")


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def hangs(pid: str) -> bool:
    """Whether a process is alive and has not executed a program since it was forked."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z" and bool(int(fields[6]) & PF_FORKNOEXEC)


def executes(pid: str, program: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == str(program)
    except OSError:
        return False
