"""Many short jobs: what is left of them in agent, keeper, pump and kernel, and how fast an agent takes it all up."""

import asyncio
import os
import time
from pathlib import Path

from tests.benchmarks.figures import descriptors, private_memory
from tests.torture.outcome import Outcome
from tests.torture.victim import Victim

from jobworker.model import JobSpec

AT_ONCE = 16
SETTLED = 5.0  # seconds until what is still held counts as leaked


async def many_jobs(path: Path, jobs: int, running: int) -> Outcome:
    """Run `jobs` short jobs and compare what is held with the start; kill the agent beside `running` others."""
    outcome = Outcome(f"the agent, killed after {jobs} short jobs and with {running} running", kills=1)
    async with Victim(path) as victim:
        await _run(victim, AT_ONCE * 8)  # everything has been used once
        before = await _held(victim)
        await _run(victim, jobs)
        after = await _held(victim)
        deadline = time.monotonic() + SETTLED
        while _more(before, after) and time.monotonic() < deadline:  # the last connection may be on its way out
            after = await _held(victim)
        for what, value in after.items():
            outcome.notes.append(f"{what}: {before[what]} before, {value} after")
        outcome.leaked += _more(before, after)
        async with victim.agent.client() as client:
            created = [await client.create(JobSpec(argv=["sleep", "1000"])) for _ in range(running)]
            started = [await client.start(job.id) for job in created]
        victim.kill("agent")
        outcome.back.append(await victim.start())
        async with victim.agent.client() as client:
            for job in started:
                again = await client.status(job.id)
                outcome.statuses["exact" if (again.state, again.pid) == (job.state, job.pid) else "invented"] += 1
            began = time.monotonic()
            await client.call("agent.shutdown", jobs="stop")
            await client.closed()
            outcome.notes.append(f"{running} jobs stopped in {time.monotonic() - began:.1f} s")
        await asyncio.to_thread(victim.agent.process.wait if victim.agent.process else int)
        await victim.start()
    return outcome


def _more(before: dict[str, float], after: dict[str, float]) -> int:
    """Return of how many kinds of things there are more than before."""
    return sum(value > before[what] for what, value in after.items() if not what.endswith("MB"))


async def _run(victim: Victim, jobs: int) -> None:
    left = iter(range(jobs))
    async with victim.agent.client() as client:

        async def some() -> None:
            for _ in left:
                async for _ in await client.run(JobSpec(argv=["/bin/true"])):
                    pass

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def _held(victim: Victim) -> dict[str, float]:
    """Count what agent, keeper and pump hold, once nothing runs."""
    held: dict[str, float] = {}
    for name in ("agent", "keeper", "pump"):
        pid = await victim.until(name)
        held[f"{name} descriptors"] = descriptors(pid)
        held[f"{name} threads"] = len(os.listdir(f"/proc/{pid}/task"))
        held[f"{name} children"] = _children(pid)
        held[f"{name} private MB"] = round(private_memory(pid) / 1e6, 1)
    run = victim.agent.home.run_folder()
    held["FIFOs"] = len(os.listdir(run / "fifo"))
    group = Path(f"/sys/fs/cgroup/unified/jobworker-{run.name.removeprefix('jobworker-')}")
    if group.exists():
        held["cgroups"] = sum(entry.is_dir() for entry in group.iterdir())
    return held


def _children(pid: int) -> int:
    return sum(len((task / "children").read_text().split()) for task in Path(f"/proc/{pid}/task").iterdir())
