"""Programs that wait for their input and programs that only look so: which are found, and what looking costs."""

import asyncio
import tempfile
import time

from tests.benchmarks.figures import cpu_seconds, table
from tests.benchmarks.fixtures import require, running_agent
from tests.support.readers import ONLY_SO, WAITING

from jobworker.client import Client
from jobworker.model import JobSpec, StopSpec

JOBS = 100
SETTLE_SECONDS = 12.0  # for all programs to be where they block, and to be looked at more than once
MEASURED_SECONDS = 10.0
KILL = StopSpec(strategy="kill")


async def measure() -> None:
    async with running_agent() as agent, agent.client() as client:
        rows = [["programs", "of them", "found waiting", "wrong"]]
        for title, programs, expected in (("that wait", WAITING, True), ("that only look so", ONLY_SO, False)):
            waits = await waiting_among(client, programs)
            wrong = [name for name in programs if (name in waits) != expected]
            rows.append([title, str(len(programs)), str(len(waits)), ", ".join(wrong) or "-"])
        table("Programs that wait for their input, and that only look so", rows)
        rows = [["jobs with an input", "CPU of the agent, ms a second"]]
        rows.append(["none", f"{await cost(agent.pids['agent']):.2f}"])
        for title, shell, pipe in (
            (f"{JOBS} without one, that sleep", "exec sleep 1000", None),
            (f"{JOBS} that sleep", "exec sleep 1000", "pipe"),
            (f"{JOBS} that wait", "exec cat", "pipe"),
            (f"{JOBS} that write 20 times a second", "while sleep 0.05; do echo; done", "pipe"),
        ):
            made = [await client.create(JobSpec(shell=shell, stdin=pipe)) for _ in range(JOBS)]
            jobs = [(await client.start(job.id)).id for job in made]
            await asyncio.sleep(SETTLE_SECONDS)
            rows.append([title, f"{await cost(agent.pids['agent']):.2f}"])
            await asyncio.gather(*(client.stop(job, KILL) for job in jobs))
        table(f"What it costs to look, measured for {MEASURED_SECONDS:g} s each", rows)


async def cost(pid: int) -> float:
    """Return the milliseconds of CPU time that a process uses in a second."""
    before, began = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(MEASURED_SECONDS)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began) * 1000


async def waiting_among(client: Client, programs: dict[str, tuple[bool, str]]) -> set[str]:
    """Start the programs; return the names of those that were found waiting at the end."""
    with tempfile.TemporaryDirectory() as folder:
        ids = {}
        for name, (tty, shell) in programs.items():
            spec = JobSpec(shell=shell, cwd=folder, name=name, tty=tty, stdin=None if tty else "pipe", timeout=None)
            ids[name] = (await client.start((await client.create(spec)).id)).id
        await asyncio.sleep(SETTLE_SECONDS)
        jobs = {name: await client.status(job) for name, job in ids.items()}
        require(all(job.exit is None for job in jobs.values()), f"ended: {[n for n, j in jobs.items() if j.exit]}")
        await asyncio.gather(*(client.stop(job, KILL) for job in ids.values()))
        return {name for name, job in jobs.items() if job.waiting is not None}
