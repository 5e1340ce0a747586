"""A whole job of an executor, from its queue to its exit: for callers as any other, with a node."""

import asyncio
import hashlib
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.process_executor import Engine
from tests.support.waiting import DEADLINE, alive, until

from jobworker.client import Client
from jobworker.errors import ExecFailed, InvalidSpec, NotSupported, PolicyRejected
from jobworker.model import ExecutorSpec, Job, JobSpec, LimitSpec, Reason, State, StopSpec
from jobworker.testing import RunningAgent

ELSEWHERE = ExecutorSpec("process")
SLEEPS = JobSpec(argv=["sleep", "1000"], executor=ELSEWHERE)


async def output(client: Client, spec: JobSpec) -> tuple[dict[str, bytes], Any]:
    run = await client.run(spec)
    data = {"stdout": b"", "stderr": b""}
    async with asyncio.timeout(DEADLINE):
        async for chunk in run:
            data[chunk.stream] += chunk.data
    return data, run.end


async def logged(client: Client, job: str) -> bytes:
    """Return the whole log of a job that has ended, or ends."""
    subscription = await client.subscribe(job)
    async with asyncio.timeout(DEADLINE), subscription:
        return b"".join([chunk.data async for chunk in subscription])


async def begun(client: Client, spec: JobSpec = SLEEPS) -> Job:
    """Return a job when it runs."""
    return await becomes(client, (await started(client, spec)).id, lambda job: job.state == State.RUNNING)


async def started(client: Client, spec: JobSpec = SLEEPS) -> Job:
    job = await client.create(spec)
    return await client.start(job.id)


async def becomes(client: Client, job: str, wanted: Callable[[Job], bool]) -> Job:
    """Return the job when it is as wanted; an event announces each change of its state."""
    async with asyncio.timeout(DEADLINE):
        while not wanted(now := await client.status(job)):  # noqa: ASYNC110  # heartbeats make no event
            await asyncio.sleep(0.05)
    return now


async def test_output_and_exit_code(client: Client) -> None:
    data, end = await output(client, JobSpec(shell="echo out; sleep 0.5; echo err >&2; exit 7", executor=ELSEWHERE))
    assert data == {"stdout": b"out\n", "stderr": b"err\n"}
    assert (end.exit.code, end.exit.signal, end.exit.reason) == (7, None, Reason.FINISHED)
    assert 0.2 <= end.exit.ran_seconds < DEADLINE


async def test_every_byte_arrives_while_it_runs(client: Client, tmp_path: Path) -> None:
    """The output is read live: the job ends only when the reader has seen the first half."""
    source = random.Random(22).randbytes(3_000_000)
    file, gate = tmp_path / "data", tmp_path / "gate"
    file.write_bytes(source)
    script = f"head -c 1500000 {file}; while ! [ -e {gate} ]; do sleep 0.05; done; tail -c 1500000 {file}"
    run = await client.run(JobSpec(shell=script, executor=ELSEWHERE))
    digest, size = hashlib.sha256(), 0
    async with asyncio.timeout(DEADLINE):
        async for chunk in run:
            assert chunk.offset == size
            digest.update(chunk.data)
            size += len(chunk.data)
            if size == 1_500_000:
                gate.touch()
    assert (size, digest.digest()) == (len(source), hashlib.sha256(source).digest())


async def test_the_order_of_its_life(client: Client, engine: Engine) -> None:
    """created, queued with the engine's reason, started with a node, exited; explain has all of it."""
    engine.switch("hold", "Resources")
    events = await client.events()
    job = await started(client, JobSpec(argv=["true"], executor=ELSEWHERE))
    assert job.state == State.QUEUED
    held = await becomes(client, job.id, lambda now: now.queued is not None and now.queued.reason == "Resources")
    assert held.queued
    assert held.queued.starts
    assert held.pid is None
    assert "Resources" in (await client.explain(job.id)).summary
    engine.unswitch("hold")
    ended = await client.wait(job.id)
    assert ended.exit
    assert ended.exit.code == 0
    assert ended.node
    assert ended.queued is None
    seen: list[str] = []
    async with asyncio.timeout(DEADLINE):
        async for event in events:
            if event.job.id == job.id:
                seen.append(event.event)
                if event.event == "exited":
                    break
    assert [*dict.fromkeys(seen)] == ["created", "queued", "started", "exited"]
    chain = [link.what for link in (await client.explain(job.id)).chain]
    assert [*dict.fromkeys(chain)] == ["created", "queued", "started", "exited"]


async def one_queued(client: Client) -> str:
    """Return the id of the job that is queued."""
    async with asyncio.timeout(DEADLINE):
        while not (jobs := await client.list(states=[State.QUEUED])):  # noqa: ASYNC110  # `jw` is another process
            await asyncio.sleep(0.05)
    return jobs[0].id


STOPS: dict[str, tuple[str, StopSpec | None, str]] = {
    "asked": ("trap 'exit 5' TERM; while :; do sleep 0.1; done", None, "exit 5"),
    "ignored": ("trap '' TERM; while :; do sleep 0.1; done", StopSpec(grace=0.3), "SIGKILL"),
    "killed": ("trap '' TERM; sleep 1000", StopSpec(strategy="kill"), "SIGKILL"),
}


@pytest.mark.parametrize("how", STOPS)
async def test_a_stop_reaches_every_process(client: Client, tmp_path: Path, how: str) -> None:
    """Those of a double fork as well; the receipt has what was done and that nothing is left."""
    script, stop, expected = STOPS[how]
    pids = tmp_path / "pids"
    daemon = "import os; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0)"
    daemon += f"; open({str(pids)!r}, 'w').write(str(os.getpid())); import time; time.sleep(1000)"
    whole = f'{sys.executable} -c "{daemon}"; {script}'
    job = await begun(client, JobSpec(shell=whole, executor=ELSEWHERE))
    await until(lambda: pids.exists() and bool(pids.read_text()))
    stopped = await client.stop(job.id, stop)
    assert stopped.state == State.EXITED
    assert stopped.exit
    assert stopped.exit.reason == Reason.STOPPED
    receipt = stopped.exit.receipt
    assert receipt
    assert (receipt.method, receipt.proof, receipt.survivors) == ("runner", "complete", [])
    assert stopped.exit.signal == expected or f"exit {stopped.exit.code}" == expected
    assert not alive(int(pids.read_text()))
    assert not any(step.action.startswith("cancel") for step in receipt.steps)


async def test_a_job_in_the_queue_is_taken_out_of_it(client: Client, engine: Engine) -> None:
    engine.switch("hold", "Priority")
    job = await started(client)
    stopped = await client.stop(job.id)
    assert stopped.exit
    assert (stopped.exit.reason, stopped.exit.code, stopped.started_at) == (
        Reason.STOPPED,
        None,
        None,
    )
    receipt = stopped.exit.receipt
    assert receipt
    assert (receipt.method, receipt.proof) == ("queue", "complete")
    assert [step.action for step in receipt.steps] == ["cancel"]
    engine.unswitch("hold")
    await until(lambda: not any(alive(each["step"]) for each in engine.jobs().values()))
    assert (await client.status(job.id)).started_at is None


async def test_signals_and_pauses(client: Client, tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    script = f"trap 'echo usr1' USR1; while :; do echo >> {ticks}; sleep 0.02; done"
    job = await begun(client, JobSpec(shell=script, executor=ELSEWHERE))
    await until(ticks.exists)
    assert await client.signal(job.id, "SIGUSR1", "main") == 1
    paused = await client.pause(job.id)
    assert paused.state == State.PAUSED
    size = ticks.stat().st_size
    await asyncio.sleep(0.3)
    assert ticks.stat().st_size == size
    assert (await client.resume(job.id)).state == State.RUNNING
    await until(lambda: ticks.stat().st_size > size)
    signalled = await client.signal(job.id, "SIGKILL", "all")
    ended = await client.wait(job.id)
    assert signalled
    assert ended.exit
    assert (ended.exit.signal, ended.exit.reason) == ("SIGKILL", Reason.FINISHED)
    assert b"usr1" in await logged(client, job.id)


async def test_a_time_limit_and_what_it_used(client: Client) -> None:
    job = await started(client, JobSpec(argv=["sleep", "1000"], timeout=0.5, executor=ELSEWHERE))
    ended = await client.wait(job.id)
    assert ended.exit
    assert ended.exit.reason == Reason.TIMEOUT
    assert ended.exit.usage
    assert ended.exit.usage.cpu_seconds is not None
    assert (await client.stats(job.id)).cpu_seconds is not None


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        (JobSpec(argv=["true"], executor=ExecutorSpec("slurm")), InvalidSpec, "there are: local, process"),
        (
            JobSpec(argv=["true"], executor=ExecutorSpec("process", {"colour": 1})),
            PolicyRejected,
            "expected partition",
        ),
        (JobSpec(argv=["cat"], stdin="pipe", executor=ELSEWHERE), NotSupported, "spec.stdin"),
        (JobSpec(argv=["sh"], tty=True, executor=ELSEWHERE), NotSupported, "spec.tty"),
        (JobSpec(argv=["true"], private_tmp=True, executor=ELSEWHERE), NotSupported, "spec.private_tmp"),
        (JobSpec(argv=["true"], secrets={"A": "abcdef"}, executor=ELSEWHERE), NotSupported, "spec.secrets"),
        (
            JobSpec(argv=["true"], limits=LimitSpec(io_read=1), executor=ELSEWHERE),
            NotSupported,
            "spec.limits.io_read",
        ),
    ],
)
async def test_what_is_refused(client: Client, spec: JobSpec, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        await client.create(spec)


async def test_local_is_the_agent_itself(client: Client) -> None:
    data, end = await output(client, JobSpec(shell="echo here", executor=ExecutorSpec("local")))
    assert data["stdout"] == b"here\n"
    assert end.exit.code == 0


async def test_a_command_that_is_not_there(client: Client) -> None:
    job = await started(client, JobSpec(argv=["/no/such/program"], executor=ELSEWHERE))
    ended = await client.wait(job.id)
    assert ended.exit
    assert (ended.exit.reason, ended.exit.step) == (Reason.START_FAILED, "exec")


async def test_a_job_that_the_engine_refuses(client: Client, engine: Engine) -> None:
    engine.switch("refuse", "invalid partition specified: gpu9")
    with pytest.raises(ExecFailed, match="invalid partition specified: gpu9") as caught:
        await started(client)
    refused = await client.status(caught.value.data["job"])
    assert refused.exit
    assert (refused.state, refused.exit.step) == (State.EXITED, "submit")
    engine.unswitch("refuse")


async def test_deleting_removes_its_folder(client: Client, agent: RunningAgent, shared: Path) -> None:
    job = await started(client, JobSpec(shell="echo x", executor=ELSEWHERE))
    await client.wait(job.id)
    await until(lambda: len([*shared.glob(f"*/{job.id}")]) == 1)
    await client.delete(job.id)
    assert not [*shared.glob(f"*/{job.id}")]
    assert not (agent.home.logs / job.id).is_symlink()


async def test_jw(agent: RunningAgent, engine: Engine) -> None:
    """`jw run` waits, shows the reason on stderr, and exits with the code of the job."""
    engine.switch("hold", "Resources")
    words = ("run", "--executor", "process", "-X", "partition=main", "--", "sh", "-c", "echo done; exit 4")
    running = asyncio.create_task(asyncio.to_thread(agent.jw, *words))
    async with agent.client() as client:
        await becomes(client, await one_queued(client), lambda job: bool(job.queued and job.queued.reason))
        await asyncio.sleep(1.5)  # for jw to look
    assert "queued" in agent.jw("ps").stdout
    engine.unswitch("hold")
    ran = await running
    assert (ran.returncode, ran.stdout) == (4, "done\n")
    assert "queued: Resources, first by" in ran.stderr
    assert "started on" in ran.stderr
