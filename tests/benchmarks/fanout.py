"""One log to many readers over TLS, text and binary; beside it a server that sends the same frames from memory."""

from tests.benchmarks import results
from tests.benchmarks.figures import median_and_range, table
from tests.benchmarks.fixtures import Agent, require, running_agent
from tests.benchmarks.readers import LINE, flow, of_job, plain_server, readers
from tests.benchmarks.starts import through_api

from jobworker.client import Client
from jobworker.model import Job, JobSpec

ROUNDS = 5
READERS = {1: 250_000_000, 10: 40_000_000, 100: 6_000_000}  # how many, and the bytes of the log that each reads
GB = 1e9


async def measure() -> None:
    rows = [["", "", "MB/s", "limit", "ratio", "CPU s/GB", "limit"]]
    async with running_agent() as agent, agent.client() as client:
        await through_api(client)  # what is done at the first job only
        for count, size in READERS.items():
            job = await written(client, size)
            for kind in ("text", "binary"):
                rows.append(
                    [str(count) if kind == "text" else "", kind, *await compare(agent, job, count, size, kind)]
                )
            await client.delete(job.id)
    table(
        f"A log over TLS to 1, 10 and 100 readers that only count, {ROUNDS} rounds, MB/s of all together;"
        " the limit sends the same frames from memory",
        rows,
    )


async def written(client: Client, size: int) -> Job:
    """Return a job that wrote so many bytes and ended."""
    command = f"yes {LINE.decode().strip()} | head -c {size}"
    job = await client.create(JobSpec(shell=command))
    await client.start(job.id)
    await client.wait(job.id)
    async for _ in await client.subscribe(job.id, size):
        pass
    job = await client.status(job.id)
    require(job.log.bytes == size, f"{job.log.bytes} bytes were written; expected {size}")
    return job


async def compare(agent: Agent, job: Job, count: int, size: int, kind: str) -> list[str]:
    speeds, limits, costs, least = [], [], [], []
    total = count * size
    for _ in range(ROUNDS):
        async with (
            plain_server(agent, kind, size) as (address, pid),
            readers(address, agent.ca, "", "go", kind, count=count, size=size) as they,
        ):
            seconds, spent = await flow(they, pid)
        limits.append(total / seconds / 1e6)
        least.append(spent / total * GB)
        async with of_job(agent, job.id, kind, count=count, size=size) as they:
            seconds, spent = await flow(they, agent.pids["agent"])
        speeds.append(total / seconds / 1e6)
        costs.append(spent / total * GB)
    return [
        median_and_range(speeds),
        median_and_range(limits),
        results.keep(f"fanout: {count} readers, {kind}, of frames from memory", speeds, limits),
        median_and_range(costs, 2),
        median_and_range(least, 2),
    ]
