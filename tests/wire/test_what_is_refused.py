"""What the host refuses to the agent: it does without, or names the call, the limit or the file, and what to do."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.conftest import DEADLINE, RunningAgent
from tests.support import seccomp

from jobworker.client.local import wait_gone
from jobworker.errors import DiskFull
from jobworker.model import JobSpec
from jobworker.paths import Home

LINES = b"".join(b"%d\n" % number for number in range(1, 20_001))


@pytest.fixture
async def under(home: Home) -> AsyncIterator[Callable[[list[str]], RunningAgent]]:
    """Start an agent under a command."""
    started: list[RunningAgent] = []

    def start(command: list[str]) -> RunningAgent:
        started.append(RunningAgent(home, under=command))
        started[-1].start()
        return started[-1]

    yield start
    for agent in started:
        await agent.clean()


async def output(agent: RunningAgent, shell: str) -> bytes:
    async with agent.client() as client, asyncio.timeout(DEADLINE):
        run = await client.run(JobSpec(shell=shell))
        return b"".join([chunk.data async for chunk in run])


@pytest.mark.skipif(not seccomp.available(), reason="the numbers of the calls are those of x86_64")
@pytest.mark.parametrize("call", ["splice", "inotify_init1"])
async def test_a_seccomp_profile_that_refuses_a_call(under: Callable[[list[str]], RunningAgent], call: str) -> None:
    """Jobs run, and their output is complete."""
    agent = under(seccomp.without(call))
    assert await output(agent, "seq 20000") == LINES
    if call == "inotify_init1":
        log = agent.home.agent_log.read_text()
        assert "inotify is refused (inotify_init1: Operation not permitted): logs are polled" in log


async def test_a_lock_on_the_job_table(agent: RunningAgent) -> None:
    """Of another process, such as a backup: the error is about the lock, not about room."""
    db = sqlite3.connect(agent.home.database, isolation_level=None)
    try:
        db.execute("BEGIN EXCLUSIVE")
        async with agent.client() as client:
            with pytest.raises(DiskFull, match="database is locked") as refused:
                await client.create(JobSpec(argv=["true"]))
    finally:
        db.close()
    assert (
        refused.value.hint == f"another process holds a lock on the table: `fuser -v {agent.home.database}` shows it"
    )


async def test_an_audit_log_that_is_a_folder(home: Home, start: Callable[[], RunningAgent]) -> None:
    """The hint is not to make room."""
    home.path.mkdir(mode=0o700)
    home.audit.mkdir()
    agent = start()
    async with agent.client() as client:
        with pytest.raises(DiskFull, match="Is a directory") as refused:
            await client.create(JobSpec(argv=["true"]))
    assert refused.value.hint == f"check the owner, mode and attributes (lsattr) of {home.audit}"
    home.audit.rmdir()


async def test_a_keeper_that_ends_at_once(home: Home) -> None:
    """The reason is that of the keeper, at once."""
    home.path.mkdir(mode=0o700)
    (home.path / "keeper.lock").mkdir()
    with pytest.raises(AssertionError, match=r"no keeper can be started: IsADirectoryError: .* Is a directory"):
        RunningAgent(home).start()


async def test_a_job_blocked_by_ulimit_f(under: Callable[[list[str]], RunningAgent], tmp_path: Path) -> None:
    """A log that reaches the limit of file sizes of the agent: `jw explain` has the limit and what to do."""
    agent = under(["sh", "-c", 'ulimit -f 400; exec "$@"', "sh"])
    async with agent.client() as client:
        pump = (await client.call("agent.info"))["keeper"]["pump"]
        if "Max file size             unlimited" in Path(f"/proc/{pump}/limits").read_text():
            assert len(await output(agent, "head -c 900000 /dev/zero")) == 900_000
            pytest.skip("root has raised the limit here: no job is blocked")
        run = await client.run(JobSpec(shell="head -c 900000 /dev/zero; sleep 600", timeout=None))
        got = 0
        async for chunk in run:
            got += len(chunk.data)
            if got >= 400 * 512:
                break
        explained = await client.explain(run.job.id)
        assert f"the log has reached {400 * 512} bytes, the limit of file sizes (ulimit -f)" in explained.summary
        assert [link.what for link in explained.chain][-1] == "output waits"
        await client.stop(run.job.id)
        rest = await client.subscribe(run.job.id, offset=got)
        async with asyncio.timeout(DEADLINE):
            assert [len(chunk.data) async for chunk in rest] == []
        assert rest.end  # what was left in the pipe is refused: the log ends
        assert rest.end.truncated


async def test_a_clean_end_leaves_no_run_folder(home: Home) -> None:
    agent = RunningAgent(home)
    agent.start()
    run = home.run_folder()
    assert await output(agent, "echo x") == b"x\n"
    async with agent.client() as client:
        keeper = (await client.call("agent.info"))["keeper"]
        await client.call("agent.shutdown", jobs="stop")
    assert agent.process
    await asyncio.to_thread(agent.process.wait, DEADLINE)
    for role in ("pid", "pump"):
        assert await asyncio.to_thread(wait_gone, keeper[role], DEADLINE)
    assert not run.exists()
