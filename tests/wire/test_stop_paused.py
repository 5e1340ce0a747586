"""A stop of a paused job: the signal is sent first, and only then does the job go on."""

from pathlib import Path

import pytest
from tests.conftest import RunningAgent

from jobworker.client import Client
from jobworker.model import Job, JobSpec, Reason, State, StopSpec

# Once it goes on, it finds the file `go` and writes another.
RUNS_ON = "echo up; while [ ! -e {0}/go ]; do :; done; : > {0}/ran; exit 0"


async def paused(client: Client, folder: Path, spec: JobSpec) -> Job:
    """Start a job, pause it, and let it go on as soon as it is resumed."""
    run = await client.run(spec)
    async for _ in run:
        break
    assert (await client.pause(run.job.id)).state == State.PAUSED
    (folder / "go").touch()
    return run.job


@pytest.mark.parametrize("how", [StopSpec(strategy="kill"), StopSpec(), StopSpec(strategy="ladder")], ids=str)
async def test_no_instruction_before_the_signal(either: RunningAgent, tmp_path: Path, how: StopSpec) -> None:
    """The job ends where it was paused."""
    async with either.client() as client:
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            job = await paused(client, folder, JobSpec(shell=RUNS_ON.format(folder)))
            ended = (await client.stop(job.id, how)).exit
            assert ended is not None
            assert (ended.code, ended.reason) == (None, Reason.STOPPED)
            assert not (folder / "ran").exists()


async def test_a_time_limit_is_due_while_it_is_paused(either: RunningAgent, tmp_path: Path) -> None:
    """The job does not get to its end in the moment in which its limit ends it."""
    async with either.client() as client:
        jobs = {}
        for number in range(5):
            folder = tmp_path / str(number)
            folder.mkdir()
            spec = JobSpec(shell=RUNS_ON.format(folder), timeout="3s", stop=StopSpec(strategy="kill"))
            jobs[folder] = await paused(client, folder, spec)
        for folder, job in jobs.items():
            ended = (await client.wait(job.id)).exit
            assert ended is not None
            assert (ended.code, ended.signal, ended.reason) == (None, "SIGKILL", Reason.TIMEOUT)
            assert not (folder / "ran").exists()


async def test_a_command_asks_a_job_that_goes_on(either: RunningAgent, tmp_path: Path) -> None:
    """A strategy that does not begin with a signal needs a job that runs."""
    async with either.client() as client:
        job = await paused(client, tmp_path, JobSpec(shell=RUNS_ON.format(tmp_path)))
        how = StopSpec(strategy="command", options={"argv": ["true"], "timeout": "20s"})
        ended = (await client.stop(job.id, how)).exit
        assert ended is not None
        assert (ended.code, ended.reason) == (0, Reason.STOPPED)
        assert (tmp_path / "ran").exists()
