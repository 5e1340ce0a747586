"""With a pid namespace of its own, no process of a job outlives a stop, even without cgroups."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import DEADLINE, RunningAgent
from tests.support.blind import BLIND
from tests.torture.stops import ESCAPES
from tests.wire.test_hung_launch import leased  # noqa: F401  # a fixture

from jobworker.client import Client
from jobworker.errors import ExecFailed, NotSupported
from jobworker.model import Job, JobSpec, Reason, State, StopSpec
from jobworker.paths import Home

DAEMON = "(env -i setsid sh -c 'sleep 1000 &'); "
# A keeper that dies in its first launch, when the job runs and the journal does not say so.
DYING = """
import sys, pathlib
from jobworker.__main__ import main
from jobworker.host import keeper_process
folder = pathlib.Path(sys.argv[sys.argv.index("--home") + 1])
from tests.support.keeper_copy import copy_keeper
mark = "        state.pids[job.pid] = job\\n        if job.init"
once = f"os.path.exists('{folder}/once') or os.mkdir('{folder}/once') or os.kill(os.getpid(), 9)"
keeper_process.KEEPER = copy_keeper(folder / "dying", {"keeper/launches.py": (mark, f"        {once}\\n{mark}")})
main(sys.argv[1:])
"""


@pytest.fixture(scope="module", params=["native", "blind"])
def under(request: pytest.FixtureRequest) -> list[str]:
    """Start the agent as it is, or without cgroups."""
    if request.param == "native":
        return []
    if os.geteuid() != 0:
        pytest.skip("it takes root to hide the cgroups")
    return BLIND


@pytest.fixture(scope="module")
def agent(start_agent: Callable[..., RunningAgent], under: list[str]) -> RunningAgent:
    return start_agent(under=under)


async def start(client: Client, shell: str, **spec: Any) -> Job:
    """Start a job in a namespace, and return it when it has written a line."""
    run = await client.run(JobSpec(shell=shell, pid_namespace=True, timeout=None, **spec))
    async for _ in run:
        break
    return await client.status(run.job.id)


def inits() -> set[int]:
    """Return all inits of namespaces below ours."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", b"2147483647"]:
            found.add(int(entry))
    return found


def ours(job: str) -> set[int]:
    """Return the processes with the job's marker, its init among them."""
    marker = f"JOBWORKER_JOB_ID={job}".encode()
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if marker in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                found.add(int(entry))
        except OSError:
            continue
    return found


def sleepers(number: str) -> list[int]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == b"sleep" and words[1].startswith(number.encode()):
            found.append(int(entry))
    return found


async def test_escape_artists(client: Client) -> None:
    """Whatever they did to get away: when the stop has answered they are gone, the init too, and that is proven."""
    number = f"{os.getpid()}{time.monotonic_ns()}"
    shell = " ".join(how.format(f"{number}.{index}") for index, how in enumerate(ESCAPES.values()))
    job = await start(client, f"{shell} echo up; wait", stop=StopSpec(grace="200ms"))
    async with asyncio.timeout(DEADLINE):
        while len(sleepers(number)) < len(ESCAPES):  # noqa: ASYNC110  # /proc sends no word
            await asyncio.sleep(0.01)
    ended = await client.stop(job.id)
    assert (sleepers(number), ours(job.id)) == ([], set())
    assert ended.exit is not None
    assert ended.exit.receipt is not None
    receipt = ended.exit.receipt
    assert (receipt.method, receipt.proof, receipt.survivors) == ("namespace", "complete", [])
    assert (ended.exit.signal, ended.exit.reason) == ("SIGTERM", Reason.STOPPED)


@pytest.mark.parametrize("strategy", ["graceful", "kill"])
async def test_a_stop(client: Client, strategy: str) -> None:
    """A main process that ends on the signal keeps its code; killed, it has the signal."""
    shell = "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done"
    job = await start(client, shell, stop=StopSpec(strategy=strategy))
    ended = await client.stop(job.id)
    assert ended.exit is not None
    assert (ended.exit.code, ended.exit.signal) == ((7, None) if strategy == "graceful" else (None, "SIGKILL"))
    assert ended.exit.reason == Reason.STOPPED
    assert ours(job.id) == set()


async def test_leftovers_are_stopped(client: Client) -> None:
    job = await start(client, DAEMON + "echo up; exit 5")
    ended = await client.wait(job.id, DEADLINE)
    assert ended.exit is not None
    assert (ended.exit.code, ended.exit.reason) == (5, Reason.FINISHED)
    async with asyncio.timeout(DEADLINE):
        while ours(job.id):  # noqa: ASYNC110  # /proc sends no word
            await asyncio.sleep(0.01)


async def test_leftovers_are_left(client: Client) -> None:
    """They live on with their init until a stop, which is as complete as any."""
    job = await start(client, "(setsid sleep 1000 &); echo up; exit 5", leftovers="leave")
    await client.wait(job.id, DEADLINE)
    assert len(ours(job.id)) == 2
    stopped = await client.stop(job.id)
    assert ours(job.id) == set()
    assert stopped.exit is not None
    assert (stopped.exit.code, stopped.exit.reason) == (5, Reason.FINISHED)
    assert stopped.exit.receipt is not None
    assert (stopped.exit.receipt.method, stopped.exit.receipt.proof) == ("namespace", "complete")


async def test_pause_and_resume(client: Client, tmp_path: Path) -> None:
    """All of it stands still, whatever hides in it, and goes on."""
    count = "while :; do echo $((n+=1)) > {0}; done"
    hidden = f"(env -i setsid sh -c '{count.format(tmp_path / 'a')}' &); "
    job = await start(client, f"{hidden}echo up; {count.format(tmp_path / 'b')}")
    async with asyncio.timeout(DEADLINE):
        while not (tmp_path / "a").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await client.call("job.pause", id=job.id))["state"] == "paused"
    before = [(tmp_path / name).stat().st_mtime_ns for name in "ab"]
    await client.wait((await start(client, "echo; sleep 0.1")).id, DEADLINE)
    assert [(tmp_path / name).stat().st_mtime_ns for name in "ab"] == before
    await client.call("job.resume", id=job.id)
    async with asyncio.timeout(DEADLINE):
        while any((tmp_path / name).stat().st_mtime_ns == old for name, old in zip("ab", before, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await client.call("job.pause", id=job.id)
    stopped = await client.stop(job.id)
    assert stopped.exit is not None
    assert stopped.exit.reason == Reason.STOPPED
    assert ours(job.id) == set()


@pytest.mark.slow
async def test_keeper_and_agent_are_killed(agent: RunningAgent) -> None:
    """Those after them know the namespace: an end is exact, and a stop takes all."""
    shell = DAEMON + "trap 'exit 9' USR1; echo up; while :; do sleep 0.01; done"
    async with agent.client() as client:
        jobs = [await start(client, shell) for _ in range(3)]
        keeper = (await client.call("agent.info"))["keeper"]["pid"]
        os.kill(keeper, signal.SIGKILL)
        async with asyncio.timeout(DEADLINE):
            while (await client.call("agent.info"))["keeper"]["pid"] == keeper:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await client.call("job.signal", id=jobs[0].id, signal="USR1", target="main")
        ended = await client.wait(jobs[0].id, DEADLINE)
        assert ended.exit is not None
        assert ended.exit.code == 9
    agent.kill()
    agent.start()
    async with agent.client() as client:
        for job in jobs[1:]:
            stopped = await client.stop(job.id, StopSpec(strategy="kill"))
            assert stopped.exit is not None
            assert stopped.exit.receipt is not None
            assert (stopped.exit.receipt.method, stopped.exit.receipt.proof) == ("namespace", "complete")
            assert ours(job.id) == set()
        async with asyncio.timeout(DEADLINE):
            while ours(jobs[0].id):  # noqa: ASYNC110  # what it left
                await asyncio.sleep(0.01)


async def test_a_launch_without_sequel(home: Home, under: list[str]) -> None:
    """A keeper that dies when it has launched: the main process is found for what it is, and so is the init."""
    agent = RunningAgent(home, under=under, program=["-c", DYING])
    agent.start()
    async with agent.client() as client:
        job = await client.start((await client.create(JobSpec(shell="sleep 1000; exit 1", pid_namespace=True))).id)
        assert job.state == State.RUNNING
        assert job.pid is not None
        assert job.pid not in inits()
        assert len(inits() & ours(job.id)) == 1
        stopped = await client.stop(job.id)
        assert ours(job.id) == set()
        assert stopped.exit is not None
        assert stopped.exit.receipt is not None
        assert stopped.exit.receipt.method == "namespace"
    await agent.clean()


@pytest.mark.slow
async def test_a_hung_launch(client: Client, leased: Path) -> None:  # noqa: F811
    """It ends start_failed, and nothing of its namespace stays."""
    job = await client.create(JobSpec(argv=[str(leased)], pid_namespace=True))
    with pytest.raises(ExecFailed) as failed:
        await client.start(job.id)
    assert failed.value.data["step"] == "exec"
    async with asyncio.timeout(DEADLINE):
        while ours(job.id):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("asked", ["spec", "configuration"])
async def test_refused_without_namespaces(home: Home, asked: str) -> None:
    """50101 with the field and the reason, or with the key of the configuration that asks for it."""
    none = ["unshare", "-r", "sh", "-c", 'echo 0 > /proc/sys/user/max_pid_namespaces; exec "$@"', "sh"]
    config = "[jobs]\npid_namespace = true\n" if asked == "configuration" else ""
    agent = RunningAgent(home, under=none, config=config)
    agent.start()
    async with agent.client() as client:
        assert (await client.call("agent.info"))["capabilities"]["namespace"] == ""
        spec = JobSpec(shell=":") if config else JobSpec(shell=":", pid_namespace=True)
        with pytest.raises(NotSupported) as refused:
            await client.create(spec)
        assert refused.value.data["field"] == "pid_namespace"
        assert ("jobs.pid_namespace" if config else "spec.pid_namespace") in refused.value.message
        assert "No space left" in refused.value.message
        await client.create(JobSpec(shell=":", pid_namespace=False))
    await agent.clean()


async def test_configured(home: Home) -> None:
    """With the key of the configuration every job has one, unless its spec refuses it."""
    agent = RunningAgent(home, config="[jobs]\npid_namespace = true\n")
    agent.start()
    async with agent.client() as client:
        assert (await client.call("agent.info"))["capabilities"]["namespace"] in ("pid", "user+pid")
        for spec, pid in ((JobSpec(shell="echo $$"), b"2\n"), (JobSpec(shell="echo $$", pid_namespace=False), None)):
            run = await client.run(spec)
            said = b"".join([chunk.data async for chunk in run])
            assert (said == b"2\n") == (pid == b"2\n")
    await agent.clean()
