"""Promise 1: no byte is lost, doubled or reordered, whatever of ours is killed and however slow a reader is."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
from tests.conftest import RunningAgent
from tests.support.waiting import DEADLINE
from tests.torture import cuts, faults, inputs
from tests.torture.outcome import SEED, judge

from jobworker.client import Client, connect
from jobworker.model import JobSpec, Reason

LINES = 4000
COUNT = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo $i; echo e$i >&2; done; exit 5"


def numbered(prefix: str) -> bytes:
    return "".join(f"{prefix}{number}\n" for number in range(1, LINES + 1)).encode()


async def test_the_pump_dies_again_and_again(client: Client) -> None:
    """Each stream arrives whole and in order, over a pump killed in the middle, several times."""
    run = await client.run(JobSpec(shell=COUNT))
    said = {"stdout": b"", "stderr": b""}
    kills = 0
    async for chunk in run:
        said[chunk.stream] += chunk.data
        if kills < 5:
            pump = (await client.call("agent.info"))["keeper"]["pump"]
            if pump is None:
                continue  # there is none at the moment
            try:
                os.kill(pump, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass  # the one before; the agent has not heard of the next
    assert said == {"stdout": numbered(""), "stderr": numbered("e")}
    assert run.end is not None
    assert run.end.exit is not None
    assert run.end.exit.code == 5


async def test_jobs_end_while_the_agent_is_dead(agent: RunningAgent) -> None:
    """Codes and signals are exact afterwards, and followers go on at the next byte."""
    fifo = agent.home.path / "go"
    os.mkfifo(fifo, 0o600)
    async with agent.client() as client:
        jobs: dict[str, tuple[int | None, str | None]] = {}
        for code in (0, 1, 77, 255):
            job = await client.create(JobSpec(shell=f"echo before; read line < {fifo}; echo after; exit {code}"))
            jobs[(await client.start(job.id)).id] = (code, None)
        job = await client.create(JobSpec(shell=f"echo before; read line < {fifo}; echo after; kill -SEGV $$"))
        jobs[(await client.start(job.id)).id] = (None, "SIGSEGV")
    agent.kill()
    with open(fifo, "wb", buffering=0) as gate:  # noqa: ASYNC230  # the jobs are waiting at its other end
        gate.write(b"\n" * 100)
        agent.start()
        async with agent.client() as client:
            for name, outcome in jobs.items():
                ended = await client.wait(name, DEADLINE)
                assert ended.exit is not None
                assert (ended.exit.code, ended.exit.signal, ended.exit.reason) == (*outcome, Reason.FINISHED)
                said = b"".join([chunk.data async for chunk in await client.subscribe(name)])
                assert said == b"before\nafter\n"


async def test_a_follower_rides_through_the_death_of_the_agent(agent: RunningAgent) -> None:
    """The client reconnects and resumes: not a byte missing, none twice, the true code at the end."""
    told: list[str] = []
    async with connect(agent.address, token=agent.token, ca=agent.ca, lost=told.append) as client:
        run = await client.run(
            JobSpec(shell="i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i; sleep 0.02; done; exit 9")
        )
        said, killed = b"", False
        async for chunk in run:
            said += chunk.data
            if not killed and b"5\n" in said:
                agent.kill()
                killed = True
                await asyncio.to_thread(agent.start)
    assert said == "".join(f"{number}\n" for number in range(1, 61)).encode()
    assert told[0].startswith("connection lost")
    assert run.end is not None
    assert run.end.exit is not None
    assert run.end.exit.code == 9


async def test_a_writer_rides_through_the_death_of_the_agent(agent: RunningAgent) -> None:
    """The client reconnects and sends again what was not answered: the job reads each byte once."""
    data = random.Random(SEED).randbytes(9_000_000)
    async with connect(agent.address, token=agent.token, ca=agent.ca) as client:
        run = await client.run(JobSpec(argv=["cat"], stdin="pipe"))
        async with await client.input(run.job.id) as target:
            for begin in range(0, len(data), 1_000_000):
                await target.write(data[begin : begin + 1_000_000])
                if begin in (2_000_000, 6_000_000):
                    agent.kill()  # with pieces under way
                    await asyncio.to_thread(agent.start)
        said = b"".join([chunk.data async for chunk in run])
    assert said == data
    assert run.end is not None
    assert run.end.exit is not None
    assert (run.end.exit.code, run.end.exit.stdin_unread) == (0, 0)


async def test_many_deaths_of_the_pump(tmp_path: Path) -> None:
    """Each stream of a job arrives whole and in order over many deaths of the pump."""
    outcome = await faults.pump_dies(tmp_path / "t", SEED, 10, 2_000_000)
    judge(outcome)
    assert (outcome.kills, outcome.marked, outcome.statuses) == (10, 0, {"exact": 1})


async def test_many_deaths_of_the_agent(tmp_path: Path) -> None:
    """Jobs do not notice the death of the agent; followers miss no byte; every exit is exact."""
    outcome = await faults.agent_dies(tmp_path / "t", 4, 8, 200_000)
    judge(outcome)
    assert (outcome.kills, outcome.marked, outcome.statuses) == (4, 0, {"exact": 8})


@pytest.mark.slow
async def test_many_deaths_under_an_input(tmp_path: Path) -> None:
    """Agent, pump, keeper and the client that writes are killed: each byte of the input arrives once, in order."""
    outcome = await inputs.input_under_kills(tmp_path / "t", SEED, 12, 3_000_000)
    judge(outcome)
    assert outcome.statuses == {"exact": 1}


async def test_writers_that_send_again(tmp_path: Path) -> None:
    """What is sent twice, from before or after a gap is written once."""
    judge(await inputs.writers_send_again(tmp_path / "t", SEED, 20, 20_000))


@pytest.mark.slow
async def test_several_die_together(tmp_path: Path) -> None:
    """Jobs that outlive the gap lose nothing; logs of jobs that end in it may be short and are then marked."""
    orders = random.Random(SEED).sample(faults.ORDERS, 3)
    judge(await faults.several_die(tmp_path / "t", SEED, [*orders, ("keeper", "pump")], 400_000))


@pytest.mark.slow
async def test_several_die_in_every_order(tmp_path: Path) -> None:
    judge(await faults.several_die(tmp_path / "t", SEED, faults.ORDERS, 400_000))


async def test_connections_that_are_cut(tmp_path: Path) -> None:
    """A client that resumes at the next byte gets every byte once, or a gap."""
    outcome = await cuts.connections_are_cut(tmp_path / "t", SEED, 60, 2)
    judge(outcome)
    assert outcome.kills >= 60
    assert outcome.statuses == {"exact": 6}


async def test_subscriptions_meet_exits(tmp_path: Path) -> None:
    """A client that subscribes at the moment of an exit gets every byte and one end, with the exit."""
    outcome = await cuts.subscriptions_meet_exits(tmp_path / "t", SEED, 100)
    judge(outcome)
    assert outcome.statuses == {"exact": 100}
