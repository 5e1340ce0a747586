"""The faults: each kills something while jobs run, and tells what came of it. Sizes are the caller's."""

import asyncio
import itertools
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests.torture.outcome import Outcome
from tests.torture.victim import Victim, collect

from jobworker.client import Client, connect
from jobworker.model import Job, JobSpec

SIGNALS = [
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGABRT,
    signal.SIGKILL,
    signal.SIGSEGV,
    signal.SIGTERM,
]
PIPE = 65536


async def pump_dies(path: Path, seed: int, kills: int, size: int) -> Outcome:
    """Kill the pump again and again under a job that writes, at any age up to a quarter of a second."""
    outcome = Outcome(f"the pump, killed under a job of {size / 1e6:g} MB a stream (seed {seed})")
    chance = random.Random(seed)
    async with Victim(path) as victim, victim.agent.client() as client:
        job = await victim.write(client, size, kills * 0.3)
        pump = 0
        for _ in range(kills):
            pump = await victim.until("pump", other_than=pump)
            await asyncio.sleep(chance.random() * 0.25)
            outcome.kills += victim.kill("pump") > 0
        await victim.judge_writer(client, job, size, outcome)
    return outcome


async def agent_dies(path: Path, kills: int, jobs: int, size: int) -> Outcome:
    """Kill the agent again and again under jobs that write, some of them followed over the wire."""
    outcome = Outcome(f"the agent, killed under {jobs} jobs of {size / 1e6:g} MB a stream, 3 of them followed")
    async with Victim(path) as victim:
        agent = victim.agent
        async with agent.client() as client:
            written = [await victim.write(client, size, kills * 0.5) for _ in range(jobs)]
        connected = asyncio.Semaphore(0)
        followers = [asyncio.create_task(_follow(victim, job, connected)) for job in written[:3]]
        for _ in followers:
            await connected.acquire()
        for _ in range(kills):
            outcome.kills += victim.kill("agent") > 0
            outcome.back.append(await victim.start())
            await asyncio.sleep(0.1)
        async with agent.client() as client:
            for job in written:
                await victim.judge_writer(client, job, size, outcome)
        for said in await asyncio.gather(*followers):
            for stream in ("stdout", "stderr"):
                outcome.silent += outcome.stream(said[stream], size) > 0
    return outcome


async def _follow(victim: Victim, job: Job, connected: asyncio.Semaphore) -> dict[str, bytes]:
    agent = victim.agent
    async with connect(agent.address, token=agent.token, ca=agent.ca) as client:
        subscription = await client.subscribe(job.id)
        connected.release()
        return await collect(subscription)


async def jobs_end_while_the_agent_is_down(path: Path, jobs: int) -> Outcome:
    """Let jobs end with every code and by signals while there is no agent."""
    outcome = Outcome("the agent is down while jobs end with codes from 0 on and by signals", kills=1)
    async with Victim(path) as victim:
        async with victim.agent.client() as client:
            ends: list[tuple[Job, tuple[int | None, str | None]]] = [
                (await victim.waiting(client, f"exit {code}"), (code, None)) for code in range(jobs)
            ]
            for number in SIGNALS:
                job = await victim.waiting(client, f"ulimit -c 0; kill -{number} $$; exec sleep 1000")
                ends.append((job, (None, number.name)))
        victim.kill("agent")
        victim.let(len(ends))
        await victim.ended([job for job, _ in ends])
        outcome.back.append(await victim.start())
        async with victim.agent.client() as client:
            for job, right in ends:
                await victim.judge_exit(client, job, right, outcome)
    return outcome


async def keeper_dies(path: Path, kills: int, jobs: int, source: str) -> Outcome:
    """Kill the keeper of waiting jobs; a half ends before the next one is there, a half after.

    `source` of their statuses: `ancestor` (the agent that started the keeper inherits its jobs), `kernel` (the
    agent was killed and started again before, so that it does not), `nobody` (and the kernel is not asked).
    """
    outcome = Outcome(f"the keeper of {jobs} jobs, half of which end before the next is there; source: {source}")
    async with Victim(path, asking=source != "nobody") as victim:
        for _ in range(kills):
            async with victim.agent.client() as client:
                started = [(await victim.waiting(client, f"exit {code}"), code) for code in range(1, jobs + 1)]
            if source != "ancestor":
                victim.kill("agent")
                await victim.start()
            began = time.monotonic()
            outcome.kills += victim.kill("keeper") > 0
            victim.let(jobs // 2)
            await victim.served()
            async with victim.agent.client() as client:
                await client.start((await client.create(JobSpec(argv=["true"]))).id)
                outcome.back.append(time.monotonic() - began)  # it launches again
                victim.let(jobs - jobs // 2)
                for job, code in started:
                    await victim.judge_exit(client, job, (code, None), outcome)
    return outcome


NAMES = ("agent", "keeper", "pump")
ORDERS = [*itertools.permutations(NAMES, 2), *itertools.permutations(NAMES, 3)]


async def several_die(path: Path, seed: int, orders: Sequence[tuple[str, ...]], size: int) -> Outcome:
    """Kill two or all three in these orders while some jobs write on and some end in the gap."""
    outcome = Outcome(f"two and all three, in {len(orders)} orders (seed {seed})")
    chance = random.Random(seed)
    for number, order in enumerate(orders):
        async with Victim(path / str(number)) as victim:
            async with victim.agent.client() as client:
                written = [await victim.write(client, size, 2.0) for _ in range(3)]
                short = [await victim.waiting(client, f"yes | head -c {PIPE}; exit 3") for _ in range(3)]
            victim.let(3)
            for name in order:
                outcome.kills += victim.kill(name) > 0
                await asyncio.sleep(chance.random() * 0.05)
            await victim.ended(short) if "pump" not in order else await asyncio.sleep(0.1)
            began = time.monotonic()
            if "agent" in order:
                await victim.start()
            await victim.served()
            outcome.back.append(time.monotonic() - began)
            async with victim.agent.client() as client:
                for job in written:
                    await victim.judge_writer(client, job, size, outcome)
                for job in short:
                    await _judge_short(victim, client, job, outcome)
    return outcome


async def _judge_short(victim: Victim, client: Client, job: Job, outcome: Outcome) -> None:
    ended = await victim.judge_exit(client, job, (3, None), outcome)
    said = (await victim.log(client, job))["stdout"]
    ended = await client.status(job.id)
    outcome.marked += ended.log.truncated
    outcome.silent += not ended.log.truncated and said != b"y\n" * (PIPE // 2)
