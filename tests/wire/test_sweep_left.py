"""What a stop by a sweep leaves: it is killed again at once, and named if it cannot be attributed to a job."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conftest import DEADLINE, RunningAgent
from tests.support.blind import BLIND
from tests.support.waiting import alive, until

from jobworker.client import Client
from jobworker.errors import StopIncomplete
from jobworker.linux.proc import pids, stat_of
from jobworker.model import Exit, Job, JobSpec, StopSpec
from jobworker.paths import Home

# A process that has shed session, parent and marker; and one that has shed the job's pipes as well.
HOLDS_PIPES = "(env -i setsid sh -c 'sleep 600 & echo $! > {0}' &); "
SHEDS_ALL = "(env -i setsid sh -c 'sleep 600 & echo $! > {0}' > /dev/null 2>&1 &); "
RUNAWAY = """
import os, sys, time
print("up", flush=True)
end = time.monotonic() + 300  # a test that is killed must not leave it for ever
while not os.path.exists(sys.argv[1]) and time.monotonic() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.002)
"""


@pytest.fixture
async def blind(home: Home) -> AsyncIterator[RunningAgent]:
    """An agent that sees no cgroup2, and gives strategies much time."""
    running = RunningAgent(home, config='[jobs]\nstop_limit = "10m"\n', under=BLIND)
    running.start()
    yield running
    await running.clean()


async def escaped(client: Client, folder: Path, how: str) -> tuple[Job, int]:
    """Start a job of which a process gets away; return both."""
    file = folder / "pid"
    job = await client.create(JobSpec(shell=how.format(file) + "exec sleep 600"))
    job = await client.start(job.id)
    await until(lambda: file.exists() and file.read_text().endswith("\n"))
    pid = int(file.read_text())
    keeper = (await client.call("agent.info"))["keeper"]["pid"]
    await until(lambda: int(stat_of(pid)[1]) == keeper)
    return job, pid


async def receipt_of(client: Client, job: str) -> Exit:
    exit_ = (await client.status(job)).exit
    assert exit_ is not None
    return exit_


async def test_a_process_that_shed_everything_is_named(blind: RunningAgent, tmp_path: Path) -> None:
    """It may be any job's, so it is not killed; the receipt has it until it is gone, also after a restart."""
    async with blind.client() as client:
        before = await client.start((await client.create(JobSpec(argv=["sleep", "600"]))).id)
        job, pid = await escaped(client, tmp_path, SHEDS_ALL)
        with pytest.raises(StopIncomplete) as caught:
            await client.stop(job.id)
        assert [(one["pid"], one["name"]) for one in caught.value.data["survivors"]] == [(pid, "sleep")]
        receipt = (await receipt_of(client, job.id)).receipt
        assert receipt is not None
        assert (receipt.proof, [one["pid"] for one in receipt.survivors]) == ("none", [pid])
        later, started = await escaped(client, tmp_path / "..", HOLDS_PIPES)
        await client.stop(later.id)  # which did not run when the process was forked
        assert not alive(started)
    blind.kill()
    blind.start()
    async with blind.client() as client:
        receipt = (await receipt_of(client, job.id)).receipt
        assert receipt is not None
        assert [one["pid"] for one in receipt.survivors] == [pid]
        os.kill(pid, 9)
        async with asyncio.timeout(DEADLINE):
            while (receipt := (await receipt_of(client, job.id)).receipt) and receipt.survivors:
                pass
        assert receipt is not None
        assert (receipt.proof, receipt.steps[-1].action) == ("best_effort", "gone")
        assert (await client.stop(before.id)).exit is not None


async def test_a_process_that_holds_the_pipes_of_the_job(blind: RunningAgent, tmp_path: Path) -> None:
    """It is the job's, and ends with it."""
    async with blind.client() as client:
        job, pid = await escaped(client, tmp_path, HOLDS_PIPES)
        ended = (await client.stop(job.id)).exit
        assert ended is not None
        assert ended.receipt is not None
        assert ended.receipt.survivors == []
        assert not alive(pid)


@pytest.mark.parametrize("strategy", ["kill", "graceful"])
async def test_a_kill_that_meets_no_process(blind: RunningAgent, tmp_path: Path, strategy: str) -> None:
    """A job that is another process every 2 ms is killed again and again, and the strategy does not wait it out."""
    over = tmp_path / "over"
    async with blind.client() as client:
        run = await client.run(JobSpec(argv=["python3", "-c", RUNAWAY, str(over)], leftovers="leave"))
        async for _ in run:
            break
        async with asyncio.timeout(DEADLINE):
            with contextlib.suppress(StopIncomplete):
                await client.stop(run.job.id, StopSpec(strategy=strategy, grace=0))
    over.touch()


async def test_processes_that_keep_forking_end_with_their_jobs(blind: RunningAgent, tmp_path: Path) -> None:
    """A walk through /proc often misses such a process. It is the job's all the same, and no survivor."""
    (tmp_path / "runaway.py").write_text(RUNAWAY)
    over = tmp_path / "over"
    shell = f"python3 {tmp_path}/runaway.py {over} & exec sleep 600"
    async with blind.client() as client, asyncio.timeout(DEADLINE):
        for strategy in ["kill", "graceful"] * 4:
            run = await client.run(JobSpec(shell=shell))
            async for _ in run:
                break
            ended = (await client.stop(run.job.id, StopSpec(strategy=strategy, grace=1))).exit
            assert ended is not None
            assert ended.receipt is not None
            assert ended.receipt.survivors == []
            assert not [pid for pid in pids() if str(over).encode() in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
