"""Each fault of an engine, a node or the agent: a job runs at most once, and what became of it is the truth."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.executors.test_whole import ELSEWHERE, becomes, begun, logged, started
from tests.support.process_executor import Engine
from tests.support.waiting import DEADLINE, alive, until

from jobworker.client import Client
from jobworker.model import Job, JobSpec, Reason, State
from jobworker.testing import RunningAgent


def counting(file: Path, then: str = "") -> JobSpec:
    """Return a job that writes a line for each time that it runs."""
    return JobSpec(shell=f"echo ran >> {file}; {then or 'exit 3'}", executor=ELSEWHERE)


async def test_a_submit_that_is_not_answered(client: Client, engine: Engine, tmp_path: Path) -> None:
    """The engine has the job: it is found by its tag, and not submitted again."""
    engine.switch("mute")
    before = set(engine.jobs())
    job = await started(client, counting(tmp_path / "runs"))
    ended = await client.wait(job.id)
    assert ended.exit
    assert ended.exit.code == 3
    await asyncio.sleep(1.5)  # beyond the pause after which a submit is tried again
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert len(set(engine.jobs()) - before) == 1


async def test_an_engine_that_is_down_at_the_submit(client: Client, engine: Engine, tmp_path: Path) -> None:
    """The job is queued at once, with the reason, and runs once when the engine is back."""
    engine.switch("down")
    job = await started(client, counting(tmp_path / "runs"))
    assert job.state == State.QUEUED
    waits = await becomes(client, job.id, lambda now: bool(now.queued and now.queued.reason))
    assert waits.queued
    assert waits.queued.reason == "process does not answer: the engine is down"
    engine.unswitch("down")
    ended = await client.wait(job.id)
    assert ended.exit
    assert ended.exit.code == 3
    assert (tmp_path / "runs").read_text() == "ran\n"


async def test_a_stop_while_the_engine_is_down(client: Client, engine: Engine, tmp_path: Path) -> None:
    engine.switch("down")
    job = await started(client, counting(tmp_path / "runs"))
    stopped = await client.stop(job.id)
    assert stopped.exit
    assert stopped.exit.reason == Reason.STOPPED
    engine.unswitch("down")
    await asyncio.sleep(2)  # in which it would be submitted
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
async def test_an_engine_that_forgets(client: Client, engine: Engine, tmp_path: Path) -> None:
    """A job whose heartbeat moves runs, whatever the engine knows; one that never began is lost, and never begins."""
    running = await begun(client, counting(tmp_path / "one", f"while ! [ -e {tmp_path}/gate ]; do sleep 0.1; done"))
    engine.switch("hold", "Priority")
    queued = await started(client, counting(tmp_path / "two"))
    engine.switch("forgetful")
    lost = await client.wait(queued.id)
    assert lost.exit
    assert lost.state == State.LOST
    assert "process: it is not known there any more; it never began" in lost.exit.message
    assert (await client.status(running.id)).state == State.RUNNING
    engine.unswitch("forgetful")
    engine.unswitch("hold")
    (tmp_path / "gate").touch()
    ended = await client.wait(running.id)
    assert ended.exit
    assert ended.exit.code == 0
    await until(lambda: not any(alive(each["step"]) for each in engine.jobs().values()))
    assert not (tmp_path / "two").exists()


async def test_an_id_that_another_job_had(client: Client, engine: Engine) -> None:
    """The engine gives the id of a running job to another: both are known by their tags."""
    first = await begun(client)
    (engine_id,) = [number for number, job in engine.jobs().items() if job["tag"].endswith(first.id)]
    runner = engine.jobs()[engine_id]
    engine.switch("reuse", engine_id)
    second = await started(client, JobSpec(shell="exit 6", executor=ELSEWHERE))
    ended = await client.wait(second.id)
    assert ended.exit
    assert ended.exit.code == 6
    assert (await client.status(first.id)).state == State.RUNNING
    stopped = await client.stop(first.id)
    assert stopped.exit
    assert stopped.exit.receipt
    assert stopped.exit.receipt.survivors == []
    await until(lambda: not alive(runner["runner"]))


@pytest.mark.slow
async def test_a_node_that_dies(client: Client, engine: Engine) -> None:
    """The job is lost, with the node and the word of the engine; another one of the same executor runs on."""
    other = await begun(client)
    job = await begun(client, JobSpec(shell="echo before; sleep 1000", executor=ELSEWHERE))
    await becomes(client, job.id, lambda now: now.log.bytes > 0)
    (engine_id,) = [number for number, each in engine.jobs().items() if each["tag"].endswith(job.id)]
    engine.kill_node(engine_id)
    lost = await client.wait(job.id)
    assert lost.exit
    assert (lost.state, lost.exit.code, lost.exit.signal) == (State.LOST, None, None)
    assert "NODE_FAIL" in lost.exit.message
    assert lost.node
    assert lost.node in lost.exit.message
    assert await logged(client, job.id) == b"before\n"
    assert (await client.status(other.id)).state == State.RUNNING
    await client.stop(other.id)


@pytest.mark.slow
async def test_an_engine_that_does_not_answer_loses_no_job(client: Client, engine: Engine) -> None:
    """A runner that is dead is not taken for lost on that alone, and the explanation has it."""
    job = await begun(client)
    (pids,) = [each for each in engine.jobs().values() if each["tag"].endswith(job.id)]
    engine.switch("down")
    os.kill(pids["runner"], signal.SIGSTOP)
    async with asyncio.timeout(DEADLINE):
        while "does not answer" not in (await client.explain(job.id)).summary:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.2)
    assert (await client.status(job.id)).state == State.RUNNING
    os.kill(pids["runner"], signal.SIGCONT)
    engine.unswitch("down")
    await client.stop(job.id)


async def test_an_end_by_the_engine(client: Client, engine: Engine) -> None:
    """An operator cancels the job at the engine: the exit names it."""
    job = await begun(client)
    (pids,) = [each for each in engine.jobs().values() if each["tag"].endswith(job.id)]
    os.kill(pids["step"], signal.SIGTERM)
    ended = await client.wait(job.id)
    assert ended.exit
    assert (ended.exit.reason, ended.exit.signal, ended.exit.by) == (Reason.STOPPED, "SIGTERM", "process")
    assert ended.exit.message.startswith("ended by process")


@pytest.mark.slow
async def test_a_stop_that_the_runner_does_not_hear(client: Client, engine: Engine) -> None:
    """A runner that hangs: the engine ends the job, and the receipt names that step."""
    job = await begun(client)
    (pids,) = [each for each in engine.jobs().values() if each["tag"].endswith(job.id)]
    os.kill(pids["runner"], signal.SIGSTOP)
    stopped = await client.stop(job.id)
    assert stopped.exit
    assert stopped.exit.receipt
    assert "cancel" in [step.action for step in stopped.exit.receipt.steps]
    await until(lambda: not alive(pids["runner"]))


@pytest.mark.parametrize("when", ["queued", "running", "ended"])
async def test_an_agent_that_is_killed(agent: RunningAgent, engine: Engine, tmp_path: Path, when: str) -> None:
    """The next one goes on with the job: it runs once, with all of its output and its own exit."""
    gate = tmp_path / "gate"
    spec = counting(tmp_path / "runs", f"echo a; while ! [ -e {gate} ]; do sleep 0.05; done; echo b; exit 9")
    if when == "queued":
        engine.switch("hold", "Priority")
    async with agent.client() as client:
        job = await started(client, spec)
        if when != "queued":
            await becomes(client, job.id, lambda now: now.state == State.RUNNING)
    agent.kill()
    if when == "ended":
        gate.touch()
        await until(lambda: "status" in next(each for each in engine.jobs().values() if each["tag"].endswith(job.id)))
    agent.start()
    engine.unswitch("hold")
    async with agent.client() as client:
        gate.touch()
        ended = await client.wait(job.id)
        assert ended.exit
        assert (ended.exit.code, ended.exit.reason) == (9, Reason.FINISHED)
        assert await logged(client, job.id) == b"a\nb\n"
    assert (tmp_path / "runs").read_text() == "ran\n"


async def test_an_agent_that_is_killed_before_it_submits(agent: RunningAgent, engine: Engine, tmp_path: Path) -> None:
    """The table has the tag and the engine has no job: the next agent submits it."""
    engine.switch("down")
    async with agent.client() as client:
        job = await started(client, counting(tmp_path / "runs"))
    agent.kill()
    engine.unswitch("down")
    agent.start()
    async with agent.client() as client:
        ended = await client.wait(job.id)
        assert ended.exit
        assert ended.exit.code == 3
    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.slow
async def test_an_agent_that_is_killed_within_a_stop(agent: RunningAgent, engine: Engine) -> None:
    async with agent.client() as client:
        job = await begun(client, JobSpec(shell="trap '' TERM; while :; do sleep 0.1; done", executor=ELSEWHERE))
        stopping = asyncio.create_task(client.stop(job.id))
        await becomes(client, job.id, lambda now: now.state == State.STOPPING)
        agent.kill()
        await asyncio.gather(stopping, return_exceptions=True)
    agent.start()
    async with agent.client() as client:
        ended = await client.wait(job.id)
        assert ended.exit
        assert ended.exit.reason == Reason.STOPPED


async def test_a_job_that_is_in_the_engine_and_in_no_table(
    agent: RunningAgent, engine: Engine, tmp_path: Path
) -> None:
    """It has a tag of ours, and is cancelled when the agent starts."""
    async with agent.client() as client:
        job = await begun(client)
    tag = next(each["tag"] for each in engine.jobs().values() if each["tag"].endswith(job.id))
    stranger = engine.submit(f"{tag.rpartition('-')[0]}-00000000zzzz", ["/bin/sleep", "1000"])
    foreign = engine.submit("jw-ffffffff-00000000zzzz", ["/bin/sleep", "1000"])
    await until(lambda: all("runner" in engine.jobs()[each] for each in (stranger, foreign)))
    agent.kill()
    agent.start()
    await until(lambda: not alive(engine.jobs()[stranger]["runner"]))
    assert alive(engine.jobs()[foreign]["runner"])
    async with agent.client() as client:
        assert (await client.status(job.id)).state == State.RUNNING
        await client.stop(job.id)
    await engine_close(engine, foreign)


async def engine_close(engine: Engine, engine_id: str) -> None:
    await asyncio.to_thread(engine.kill_node, engine_id)


@pytest.mark.slow
async def test_fifty_jobs(client: Client, tmp_path: Path) -> None:
    """Each runs once, with its own code and output."""

    async def one(number: int) -> tuple[Job, bytes]:
        script = f"echo ran >> {tmp_path}/{number}; seq {number} 1000; exit {number % 5}"
        job = await started(client, JobSpec(shell=script, executor=ELSEWHERE))
        ended = await client.wait(job.id)
        return ended, await logged(client, job.id)

    found = await asyncio.gather(*map(one, range(50)))
    for number, (job, data) in enumerate(found):
        assert job.exit
        assert job.exit.code == number % 5
        assert data == b"".join(b"%d\n" % each for each in range(number, 1001))
        assert (tmp_path / str(number)).read_text() == "ran\n"


@pytest.mark.slow
async def test_an_end_after_a_job_was_lost(client: Client, engine: Engine, tmp_path: Path) -> None:
    """Its node was cut off and comes back: that is an event, and the job stays lost."""
    gate = tmp_path / "gate"
    spec = JobSpec(shell=f"while ! [ -e {gate} ]; do sleep 0.1; done; exit 4", executor=ELSEWHERE)
    events = await client.events()
    job = await begun(client, spec)
    (pids,) = [each for each in engine.jobs().values() if each["tag"].endswith(job.id)]
    os.kill(pids["runner"], signal.SIGSTOP)
    os.kill(pids["step"], signal.SIGKILL)
    assert (await client.wait(job.id)).state == State.LOST
    gate.touch()
    os.kill(pids["runner"], signal.SIGCONT)
    async with asyncio.timeout(DEADLINE):
        async for event in events:
            if (event.job.id, event.event) == (job.id, "late_exit"):
                break
    assert (event.detail, event.by) == ("exited with code 4", "process")
    assert (await client.status(job.id)).state == State.LOST
    assert "ended after it was taken for lost" in [link.what for link in (await client.explain(job.id)).chain]
