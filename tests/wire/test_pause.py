"""job.pause and job.resume: the whole tree stands still, and goes on; a stop finds it wherever it is."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import RunningAgent
from tests.support.waiting import scaled, until

from jobworker.linux.proc import stat_of
from jobworker.model import JobSpec, Reason, State, StopSpec

if TYPE_CHECKING:
    from tests.support.wire import Wire

    from jobworker.paths import Home

# The tree has a member that left the session; both count for as long as they may.
COUNTS = "(setsid sh -c 'while :; do echo $((n+=1)) > {0}; done') & while :; do echo $((m+=1)) > {1}; done"


def cpu(pid: int) -> int:
    """Return the CPU ticks of a process and of all it started."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.parent.name) == pid or int(fields[1]) == pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks


async def start(wire: "Wire", folder: Path, **spec: Any) -> dict[str, Any]:
    run = await wire.ask("job.run", spec={"shell": "echo up; " + COUNTS.format(folder / "a", folder / "b"), **spec})
    await wire.until(run["subscription"], b"up\n")
    job: dict[str, Any] = run["job"]
    return job


async def test_it_stands_still_and_goes_on(wire: "Wire", tmp_path: Path) -> None:
    """No process of the tree uses CPU while it is paused, however often that is measured."""
    job = await start(wire, tmp_path)
    paused = await wire.ask("job.pause", id=job["id"])
    assert (paused["state"], paused["pid"]) == ("paused", job["pid"])
    before = cpu(job["pid"])
    other = await wire.run(shell="i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
    await wire.ask("job.wait", id=other["id"])
    assert cpu(job["pid"]) == before
    assert (await wire.ask("job.resume", id=job["id"]))["state"] == "running"
    while cpu(job["pid"]) == before:
        await wire.ask("agent.ping")
    await wire.ask("job.stop", id=job["id"], stop={"strategy": "kill"})


@pytest.mark.parametrize("stop", [{}, {"strategy": "kill"}], ids=str)
async def test_a_stop(wire: "Wire", tmp_path: Path, stop: dict[str, Any]) -> None:
    """A paused tree gets the signal of the stop at once."""
    job = await start(wire, tmp_path)
    await wire.ask("job.pause", id=job["id"])
    ended = (await wire.ask("job.stop", id=job["id"], stop=stop))["exit"]
    assert ended["reason"] == "stopped"
    assert len(ended["receipt"]["steps"]) == 1
    assert ended["receipt"]["survivors"] == []


async def test_a_stop_meets_a_pause(wire: "Wire") -> None:
    """Whichever comes first, the tree gets the signal of the stop and need not be killed."""
    for _ in range(10):
        job = await wire.run(argv=["sleep", "1000"], stop={"grace": "5s"})
        pause = await wire.begin("job.pause", id=job["id"])
        stop = await wire.begin("job.stop", id=job["id"])
        ended = (await wire.answer(stop))["result"]["exit"]
        await wire.answer(pause)
        assert (ended["signal"], len(ended["receipt"]["steps"])) == ("SIGTERM", 1)


async def test_limits(wire: "Wire") -> None:
    """A limit on silence waits while the job is paused, one on time does not."""
    silent = await wire.run(shell="sleep 1000", idle_timeout=scaled(0.5))
    timed = await wire.run(shell="sleep 1000", timeout=scaled(1))
    for job in (silent, timed):
        await wire.ask("job.pause", id=job["id"])
    ended = (await wire.ask("job.wait", id=timed["id"]))["exit"]
    assert (ended["reason"], ended["by"]) == ("timeout", "total")
    assert (await wire.ask("job.status", id=silent["id"]))["state"] == "paused"
    await wire.ask("job.resume", id=silent["id"])
    ended = (await wire.ask("job.wait", id=silent["id"]))["exit"]
    assert (ended["reason"], ended["by"]) == ("timeout", "idle")


async def test_the_agent_dies(agent: "RunningAgent", tmp_path: Path) -> None:
    """A paused job is paused afterwards, and resumes."""
    async with agent.client() as client:
        job = await client.start((await client.create(JobSpec(argv=["sleep", "1000"]))).id)
        await client.pause(job.id)
    agent.kill()
    agent.start()
    async with agent.client() as client:
        assert (await client.status(job.id)).state == State.PAUSED
        assert (await client.resume(job.id)).state == State.RUNNING
        await client.stop(job.id)


@pytest.mark.parametrize("method", ["job.pause", "job.resume"])
async def test_not_now(wire: "Wire", method: str) -> None:
    """Each needs a certain state; the error has the current one."""
    created = await wire.create(shell=":")
    assert (await wire.refused(method, id=created))["data"]["state"] == "created"
    job = await wire.run(argv=["sleep", "1000"])
    if method == "job.pause":
        await wire.ask("job.pause", id=job["id"])
    error = await wire.refused(method, id=job["id"])
    assert (error["code"], error["data"]["state"]) == (40901, "paused" if method == "job.pause" else "running")
    await wire.ask("job.stop", id=job["id"])
    assert (await wire.refused(method, id=job["id"]))["data"]["state"] == "exited"


@pytest.fixture
async def blind(home: "Home") -> AsyncIterator[RunningAgent]:
    """An agent that sees no cgroup2."""
    hide = ["unshare", "-m", "sh", "-c", 'umount -a -t cgroup2; exec "$@"', "sh"]
    agent = RunningAgent(home, under=hide if os.geteuid() == 0 else [])
    agent.start()
    yield agent
    await agent.clean()


async def test_without_a_cgroup(blind: RunningAgent, tmp_path: Path) -> None:
    """By signals to everyone a sweep finds: the same as seen from outside."""
    async with blind.client() as client:
        assert (await client.call("agent.info"))["capabilities"]["stop"] == "sweep"
        run = await client.run(JobSpec(shell="echo up; " + COUNTS.format(tmp_path / "a", tmp_path / "b")))
        async for _ in run:
            break
        assert run.job.pid is not None
        assert (await client.pause(run.job.id)).state == State.PAUSED
        before = cpu(run.job.pid)
        async for _ in await client.run(JobSpec(shell="i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")):
            pass
        assert cpu(run.job.pid) == before
        await client.resume(run.job.id)
        await client.pause(run.job.id)
        ended = (await client.stop(run.job.id)).exit
        assert ended is not None
        assert (ended.signal, ended.reason) == ("SIGTERM", Reason.STOPPED)


@pytest.fixture
def slow_group() -> Iterator[Path]:
    """A cgroup whose processes run for a millisecond in each second."""
    group = Path("/sys/fs/cgroup/cpu", f"jobworker-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text("1000000")
        (group / "cpu.cfs_quota_us").write_text("1000")
    except OSError:
        pytest.skip("no cgroup v1 with the controller cpu can be made here")
    yield group
    group.rmdir()


async def test_who_waits_for_a_processor(slow_group: Path, blind: RunningAgent) -> None:
    """The answer comes when all stand still, also who has not run since the signal."""
    async with blind.client() as client:
        run = await client.run(JobSpec(shell="while :; do :; done"))
        (slow_group / "cgroup.procs").write_text(str(run.job.pid))
        await until(lambda: "nr_throttled 0" not in (slow_group / "cpu.stat").read_text())
        await client.pause(run.job.id)
        assert run.job.pid is not None
        assert stat_of(run.job.pid)[0] == "T"
        await client.stop(run.job.id, StopSpec(strategy="kill"))
