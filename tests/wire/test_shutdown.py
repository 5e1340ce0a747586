"""The end of an agent and the next one: jobs are stopped or left, and nothing of them is lost."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import DEADLINE

from jobworker.errors import RpcError
from jobworker.model import JobSpec, Reason, State

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

    from jobworker.client import Client

Start = Callable[..., "RunningAgent"]
FOREGROUND = "[server]\nport = 0\n"
SLEEP = JobSpec(argv=["sleep", "1000"])


def runs(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    return True


async def start_job(client: "Client", spec: JobSpec = SLEEP) -> Any:
    return await client.start((await client.create(spec)).id)


async def keeper_of(client: "Client") -> tuple[int, int]:
    keeper = (await client.call("agent.info"))["keeper"]
    return keeper["pid"], keeper["pump"]


async def end(agent: "RunningAgent", number: signal.Signals = signal.SIGTERM) -> int:
    return await asyncio.to_thread(agent.end, number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_in_the_foreground_jobs_are_stopped(start: Start, number: signal.Signals) -> None:
    """Told to end, it stops its jobs, reason shutdown, and exits 0; the next agent knows."""
    agent = start(FOREGROUND, local=False)
    async with agent.client() as client:
        jobs = [await start_job(client) for _ in range(3)]
        created = await client.create(SLEEP)
    assert await end(agent, number) == 0
    assert not any(runs(job.pid) for job in jobs)
    agent.start()
    async with agent.client() as client:
        for job in jobs:
            ended = await client.status(job.id)
            assert ended.exit is not None
            assert (ended.state, ended.exit.reason, ended.exit.signal) == (State.EXITED, Reason.SHUTDOWN, "SIGTERM")
            assert ended.exit.receipt is not None
            assert ended.exit.receipt.survivors == []
        assert (await client.status(created.id)).state == State.CREATED


async def test_in_the_background_jobs_are_left(
    start: Start, tmp_path: Path, gone: Callable[[int], "asyncio.Future[bool]"]
) -> None:
    """They run on; the next agent has the same pids, the whole log, and the exit when it comes."""
    os.mkfifo(tmp_path / "gate")
    agent = start()
    async with agent.client() as client:
        run = await client.run(JobSpec(shell=f"echo one; read _ < {tmp_path}/gate; echo two; exit 7"))
        first = await anext(aiter(run))
        assert first.data == b"one\n"
        before = await client.status(run.job.id)
        keeper = await keeper_of(client)
    assert await end(agent) == 0
    assert runs(before.pid)
    agent.start()
    async with agent.client() as client:
        after = await client.status(run.job.id)
        assert (after.state, after.pid, after.started_at) == (State.RUNNING, before.pid, before.started_at)
        assert await keeper_of(client) == keeper
        log = await client.subscribe(run.job.id)
        await asyncio.to_thread((tmp_path / "gate").write_text, "\n")
        assert b"".join([chunk.data async for chunk in log]) == b"one\ntwo\n"
        assert log.end is not None
        assert log.end.exit is not None
        assert (log.end.exit.code, log.end.exit.reason) == (7, Reason.FINISHED)
        other = await start_job(client)
        assert (await client.stop(other.id)).state == State.EXITED


@pytest.mark.parametrize("killed", [False, True])
async def test_a_job_that_ends_while_no_agent_runs(
    start: Start, tmp_path: Path, gone: Callable[[int], "asyncio.Future[bool]"], killed: bool
) -> None:
    """Its exact code or signal and all its output are known afterwards, however the agent ended."""
    os.mkfifo(tmp_path / "gate")
    agent = start()
    async with agent.client() as client:
        coded = await start_job(client, JobSpec(shell=f"read _ < {tmp_path}/gate; seq 20000; exit 42"))
        signalled = await start_job(client)
    await end(agent, signal.SIGKILL if killed else signal.SIGTERM)
    (tmp_path / "gate").write_text("\n")
    os.kill(signalled.pid, signal.SIGUSR2)
    assert await gone(coded.pid)
    assert await gone(signalled.pid)
    agent.start()
    async with agent.client() as client:
        ended = await client.wait(coded.id, DEADLINE)
        assert ended.exit is not None
        assert (ended.exit.code, ended.exit.signal, ended.exit.reason) == (42, None, Reason.FINISHED)
        log = await client.subscribe(coded.id)
        assert b"".join([chunk.data async for chunk in log]) == "".join(f"{n}\n" for n in range(1, 20001)).encode()
        ended = await client.wait(signalled.id, DEADLINE)
        assert ended.exit is not None
        assert (ended.exit.code, ended.exit.signal, ended.exit.reason) == (None, "SIGUSR2", Reason.FINISHED)


async def test_deadlines_and_stops_go_on(start: Start) -> None:
    """A timeout and a stop that were under way when the agent was killed are taken up by the next one."""
    agent = start()
    async with agent.client() as client, agent.client() as other:
        timed = await start_job(client, JobSpec(argv=["sleep", "1000"], timeout="1s"))
        run = await client.run(JobSpec(shell="trap 'echo hit' TERM; echo up; while :; do sleep 1000 & wait; done"))
        chunks = aiter(run)
        await anext(chunks)
        stopping = asyncio.create_task(other.call("job.stop", id=run.job.id, stop={"grace": "1s"}))
        assert (await anext(chunks)).data == b"hit\n"
        await end(agent, signal.SIGKILL)
        await asyncio.gather(stopping, return_exceptions=True)
    agent.config = '[jobs]\ngrace = "1h"\n'  # the call had said less
    agent.start()
    async with agent.client() as client:
        ended = await client.wait(timed.id, DEADLINE)
        assert ended.exit is not None
        assert (ended.exit.reason, ended.exit.by) == (Reason.TIMEOUT, "total")
        ended = await client.wait(run.job.id, DEADLINE)
        assert ended.exit is not None
        assert (ended.exit.reason, ended.exit.signal) == (Reason.STOPPED, "SIGKILL")


@pytest.mark.parametrize(("local", "policy"), [(True, "stop"), (False, "leave")])
async def test_on_shutdown(start: Start, local: bool, policy: str) -> None:
    """`agent.on_shutdown` decides what happens to the jobs."""
    agent = start(f'{FOREGROUND}[agent]\non_shutdown = "{policy}"\n', local=local)
    async with agent.client() as client:
        job = await start_job(client)
    await end(agent)
    assert runs(job.pid) == (policy == "leave")
    agent.start()
    async with agent.client() as client:
        assert (await client.status(job.id)).state == (State.RUNNING if policy == "leave" else State.EXITED)


async def test_a_second_signal_kills(start: Start) -> None:
    """While it waits for jobs it starts no new ones; a second signal kills the jobs."""
    agent = start(f'{FOREGROUND}[jobs]\ngrace = "1h"\n', local=False)
    async with agent.client() as client:
        run = await client.run(JobSpec(shell="trap '' TERM; echo up; while :; do sleep 1000; done"))
        await anext(aiter(run))
        os.kill(agent.pid, signal.SIGTERM)
        while (await client.status(run.job.id)).state != State.STOPPING:
            pass
        with pytest.raises(RpcError) as caught:
            await client.create(SLEEP)
        assert (caught.value.code, caught.value.retryable) == (50301, True)
    assert await end(agent) == 0
    agent.start()
    async with agent.client() as client:
        ended = await client.status(run.job.id)
        assert ended.exit is not None
        assert (ended.exit.reason, ended.exit.signal) == (Reason.SHUTDOWN, "SIGKILL")


async def test_without_jobs_nothing_stays(start: Start, gone: Callable[[int], "asyncio.Future[bool]"]) -> None:
    """SIGTERM without running jobs: keeper and pump leave with the agent."""
    agent = start()
    async with agent.client() as client:
        await client.wait((await start_job(client, JobSpec(shell=":"))).id)
        keeper, pump = await keeper_of(client)
    assert await end(agent) == 0
    assert await gone(keeper)
    assert await gone(pump)


@pytest.mark.parametrize("jobs", ["stop", "leave"])
async def test_agent_shutdown(start: Start, jobs: str) -> None:
    """The call is answered, then the agent ends, with or without its jobs."""
    agent = start()
    async with agent.client() as client:
        job = await start_job(client)
        assert await client.call("agent.shutdown", jobs=jobs) is True
        assert agent.process is not None
        assert await asyncio.to_thread(agent.process.wait, 15) == 0
    assert runs(job.pid) == (jobs == "leave")
    agent.start()
    async with agent.client() as client:
        ended = await client.status(job.id)
        if jobs == "stop":
            assert ended.exit is not None
            assert ended.exit.reason == Reason.SHUTDOWN
        else:
            assert (ended.state, ended.pid) == (State.RUNNING, job.pid)


async def test_keys_and_logs_survive(start: Start) -> None:
    """After a kill of the agent the job, its key and its log are there; so are the ids to come."""
    agent = start()
    async with agent.client() as client:
        run = await client.run(JobSpec(shell="echo x", labels={"a": "b"}), key="kept")
        assert [chunk.data async for chunk in run] == [b"x\n"]
    await end(agent, signal.SIGKILL)
    agent.start()
    async with agent.client() as client:
        again = await client.run(JobSpec(shell="echo x", labels={"a": "b"}), key="kept")
        assert again.job.id == run.job.id
        assert [chunk.data async for chunk in again] == [b"x\n"]
        assert [job.id for job in await client.list(labels={"a": "b"})] == [run.job.id]
        newer = await client.create(SLEEP)
        assert newer.id > run.job.id
        assert newer.revision > again.job.revision
