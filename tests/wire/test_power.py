"""With durability "power" an answer waits for the disk: syncs fail by strace, and the answer does not come."""

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.conftest import RunningAgent
from tests.support.waiting import DEADLINE, until

from jobworker.errors import DiskFull
from jobworker.model import JobSpec, State

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is needed")
POWER = '[server]\nport = 0\n[agent]\ndurability = "power"\n'
PROCESS = POWER.replace("power", "process")
FAILS = ["-e", "inject=fdatasync,fsync:error=EIO"]


@contextlib.asynccontextmanager
async def traced(agent: RunningAgent, *options: str) -> AsyncIterator[None]:
    """Have strace see, or fail, the syncs of all threads of the agent meanwhile."""
    command = ["strace", "-f", "-y", "-p", str(agent.pid), "-e", "trace=fdatasync,fsync", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:  # noqa: ASYNC220  # it does not wait
        assert strace.stderr is not None
        line = await asyncio.to_thread(strace.stderr.readline)
        assert b"attached" in line, line
        try:
            yield
        finally:
            strace.terminate()  # it lets go of all threads
            await asyncio.to_thread(strace.communicate)


async def test_a_start_waits_until_the_journal_is_synced(start: Callable[..., RunningAgent], tmp_path: Path) -> None:
    """The job runs, but no answer or event is sent while a power cut could still take back its record."""
    agent = start(POWER)
    async with agent.client() as client:
        job = await client.create(JobSpec(shell=f"touch {tmp_path}/ran; exec sleep 1000", timeout=None))
        async with traced(agent, "-P", str(agent.home.journal), *FAILS):
            starting = asyncio.create_task(client.start(job.id))
            await until((tmp_path / "ran").exists)
            await until(lambda: "the journal cannot be synced" in agent.home.agent_log.read_text())
            assert not starting.done()
            assert (await client.status(job.id)).state == State.CREATED
        async with asyncio.timeout(DEADLINE):
            assert (await starting).state == State.RUNNING


async def test_by_default_nothing_waits_for_the_disk(start: Callable[..., RunningAgent], tmp_path: Path) -> None:
    """Create, start and wait are answered though every sync fails."""
    agent = start(PROCESS)
    trace = tmp_path / "trace"
    async with agent.client() as client, traced(agent, "-o", str(trace), *FAILS):
        job = await client.create(JobSpec(shell="echo x; exit 3"))
        await client.start(job.id)
        async with asyncio.timeout(DEADLINE):
            ended = await client.wait(job.id)
            async for _ in await client.subscribe(job.id):
                pass
    assert ended.exit is not None
    assert ended.exit.code == 3
    assert not re.search(r"/(journal|logs/.*)>", trace.read_text())


async def test_a_job_is_created_and_announced_on_the_disk(start: Callable[..., RunningAgent], tmp_path: Path) -> None:
    """If the job table cannot be synced, no job is created, and no job is launched that is only in memory."""
    agent = start(POWER)
    table = f"{agent.home.database}-wal"
    async with agent.client() as client:
        job = await client.create(JobSpec(shell=f"touch {tmp_path}/ran"))
        async with traced(agent, "-P", table, *FAILS):
            with pytest.raises(DiskFull):
                await client.create(JobSpec(argv=["true"]))
            with pytest.raises(DiskFull):
                await client.start(job.id)
            assert not (tmp_path / "ran").exists()
        async with asyncio.timeout(DEADLINE):
            while (await client.start(job.id)).state == State.CREATED:
                pass
        assert (await client.wait(job.id)).exit is not None
        assert (tmp_path / "ran").exists()


async def test_an_exit_waits_until_the_table_is_synced(start: Callable[..., RunningAgent], tmp_path: Path) -> None:
    """What `job.wait` answers, with the reason that only the table knows, is on the disk."""
    agent = start(POWER)
    async with agent.client() as client:
        job = await client.start((await client.create(JobSpec(shell="exec sleep 1000", timeout=None))).id)
        trace = tmp_path / "trace"
        async with traced(agent, "-o", str(trace)):
            stopped = await client.stop(job.id)
            seen = trace.read_text()
    assert stopped.exit is not None
    names = re.findall(r"f(?:data)?sync\(\d+<[^>]*/([^/>]+)>(?:\)| <unfinished)", seen)
    assert "jobs.db-wal" in names[names.index("journal") :], names
    assert names[0] == "jobs.db-wal", "a stop is written down before the first signal"


async def test_a_log_is_synced_before_its_end_is_sent(start: Callable[..., RunningAgent], tmp_path: Path) -> None:
    """The journal, then the bytes before their index, then the names in the folders; all before `log.end`."""
    agent = start(POWER)
    trace = tmp_path / "trace"
    async with agent.client() as client, traced(agent, "-o", str(trace)):
        job = await client.create(JobSpec(shell="echo out; echo err >&2"))
        await client.start(job.id)
        async for _ in await client.subscribe(job.id):
            pass
        seen = trace.read_text()
    names = re.findall(r"f(?:data)?sync\(\d+<[^>]*/(journal|logs(?:/[^>]*)?)>(?:\)| <unfinished)", seen)
    folder = f"logs/{job.id}"
    wanted = [f"{folder}/out", f"{folder}/err", f"{folder}/index", folder, "logs"]
    at = names.index(wanted[0])
    assert "journal" in names[:at]
    assert [name for name in names[at:] if name != "journal"][: len(wanted)] == wanted


async def test_the_log_of_a_job_that_runs_is_synced(start: Callable[..., RunningAgent], tmp_path: Path) -> None:
    """Within moments, without an end; a log that does not grow is left alone."""
    agent = start(POWER)
    trace = tmp_path / "trace"
    async with agent.client() as client, traced(agent, "-o", str(trace)):
        spec = JobSpec(shell="echo one; exec sleep 1000", timeout=None)
        job = await client.start((await client.create(spec)).id)
        await until(lambda: f"logs/{job.id}/index>" in trace.read_text())


async def test_a_deleted_log_stays_deleted(start: Callable[..., RunningAgent], tmp_path: Path) -> None:
    agent = start(POWER)
    trace = tmp_path / "trace"
    async with agent.client() as client:
        job = await client.create(JobSpec(shell="echo x"))
        await client.start(job.id)
        async for _ in await client.subscribe(job.id):
            pass
        async with traced(agent, "-o", str(trace)):
            await client.delete(job.id)
            names = re.findall(r"f(?:data)?sync\(\d+<[^>]*/([^/>]+)>(?:\)| <unfinished)", trace.read_text())
    assert names[:2] == ["logs", "jobs.db-wal"]


async def test_a_token_is_on_the_disk(start: Callable[..., RunningAgent], tmp_path: Path) -> None:
    """File and folder, whatever the durability: a token that was handed out is valid after a power cut."""
    agent = start(PROCESS)
    trace = tmp_path / "trace"
    async with agent.client() as client, traced(agent, "-o", str(trace)):
        await client.call("token.create", name="ann", roles=["reader"])
        names = re.findall(r"fsync\(\d+<([^>]*)>(?:\)| <unfinished)", trace.read_text())
    assert Path(names[0]).name.startswith(".tokens.json")
    assert str(agent.home.path) in names
