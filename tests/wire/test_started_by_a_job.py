"""An agent that a job has started, as an upgrade script does: it is no part of that job."""

import sys
from pathlib import Path

import pytest
from tests.conftest import RunningAgent
from tests.support.waiting import until

from jobworker.client.local import agent_pid
from jobworker.errors import StopIncomplete
from jobworker.linux.proc import MARKER, group_of, is_alive
from jobworker.model import Job, JobSpec, StopSpec
from jobworker.paths import Home

JW = f"{sys.executable} -m jobworker_cli"


async def restarted(either: RunningAgent, home: Home, folder: Path, **spec: object) -> tuple[Job, Job]:
    """Have a job stop the agent and start another; return it and a job that has nothing to do with it."""
    done = folder / "done"
    async with either.client() as client:
        other = await client.start((await client.create(JobSpec(argv=["sleep", "600"]))).id)
        shell = f"{JW} agent stop && {JW} agent start; echo $? > {done}; exec sleep 600"
        spec = {"shell": shell, "env": {"JOBWORKER_HOME": str(home.path)}, **spec}
        job = await client.start((await client.create(JobSpec(**spec))).id)  # type: ignore[arg-type]
    await until(lambda: done.exists() and done.read_text() == "0\n")
    assert either.process is not None
    either.process.wait()
    return job, other


@pytest.mark.parametrize("strategy", ["graceful", "kill"])
async def test_it_outlives_that_job(either: RunningAgent, home: Home, tmp_path: Path, strategy: str) -> None:
    """The stop of the job ends the job alone: agent, keeper, pump and other jobs go on."""
    job, other = await restarted(either, home, tmp_path)
    pid = agent_pid(home)
    assert pid
    assert job.id not in group_of(pid)
    assert f"{MARKER}={job.id}".encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    async with either.client() as client:
        before = (await client.call("agent.info"))["keeper"]
        ended = (await client.stop(job.id, StopSpec(strategy=strategy))).exit
        assert ended is not None
        assert ended.receipt is not None
        assert (ended.reason, ended.receipt.survivors) == ("stopped", [])
        assert (await client.call("agent.info"))["keeper"] == before
        assert (await client.status(other.id)).state == "running"
    assert agent_pid(home) == pid


async def test_limits_of_that_job_are_not_its_own(either: RunningAgent, home: Home, tmp_path: Path) -> None:
    """Nothing of it counts as the job's, in any hierarchy."""
    async with either.client() as client:
        if "pids" not in (await client.call("agent.info"))["capabilities"]["limits"]:
            pytest.skip("no job can be limited here")
    job, _ = await restarted(either, home, tmp_path, limits={"pids": 500})
    pid = agent_pid(home)
    assert job.id not in Path(f"/proc/{pid}/cgroup").read_text()
    async with either.client() as client:
        await client.stop(job.id)


async def test_one_of_another_folder(either: RunningAgent, tmp_path: Path) -> None:
    """A job that uses `jw` with a folder of its own starts an agent there, which is not named as a survivor."""
    second = Home(tmp_path / "second")
    done = tmp_path / "done"
    async with either.client() as client:
        shell = f"{JW} run -d -- sleep 600 && echo > {done}; exec sleep 600"
        spec = JobSpec(shell=shell, env={"JOBWORKER_HOME": str(second.path)})
        job = await client.start((await client.create(spec)).id)
        await until(done.exists)
        pid = agent_pid(second)
        assert pid
        try:
            await client.stop(job.id)
        except StopIncomplete as error:
            raise AssertionError(error.data["survivors"]) from error
    assert is_alive(pid)
    agent = RunningAgent(second)
    assert agent.jw("agent", "stop", "--jobs").returncode == 0
