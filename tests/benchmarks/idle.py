"""What a running job costs while it does nothing: memory and descriptors in each of our processes."""

from tests.benchmarks.figures import descriptors, private_memory, table
from tests.benchmarks.fixtures import require, running_agent
from tests.benchmarks.starts import in_flight, through_api

from jobworker.client import Client
from jobworker.model import JobSpec

JOBS = 200
FIRST = 20  # jobs that come and go before, for what is allocated once


async def measure() -> None:
    async with running_agent() as agent, agent.client() as client:
        await in_flight(16, FIRST, lambda: through_api(client))
        before = {name: (private_memory(pid), descriptors(pid)) for name, pid in agent.pids.items()}
        await in_flight(16, JOBS, lambda: sleeping_job(client))
        running = await client.list(states=["running"], limit=JOBS + 1)
        require(len(running) == JOBS, f"{len(running)} jobs run; expected {JOBS}")
        rows = [["", "kB a job", "kB before", "kB after", "descriptors a job"]]
        for name, pid in agent.pids.items():
            memory, open_before = before[name]
            grown, opened = private_memory(pid) - memory, descriptors(pid) - open_before
            rows.append(
                [
                    name,
                    f"{grown / JOBS / 1000:.2f}",
                    f"{memory / 1000:.0f}",
                    f"{(memory + grown) / 1000:.0f}",
                    f"{opened / JOBS:.2f}",
                ]
            )
        own = [private_memory(job.pid) for job in running if job.pid is not None]
        rows.append(["the job itself", f"{sum(own) / JOBS / 1000:.2f}", "", "", ""])
    table(f"Private memory of a running job, at {JOBS} of `sleep`; beside it what sleep takes itself", rows)


async def sleeping_job(client: Client) -> None:
    job = await client.create(JobSpec(argv=["sleep", "3600"]))
    await client.start(job.id)
