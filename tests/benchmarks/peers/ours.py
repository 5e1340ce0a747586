"""jobworker: one connection, TLS, login, authorisation, audit and storage as by default."""

import contextlib

from tests.benchmarks.figures import private_memory
from tests.benchmarks.fixtures import Agent, running_agent
from tests.benchmarks.idle import sleeping_job
from tests.benchmarks.peers.peer import LANES, Running
from tests.benchmarks.starts import in_flight, through_api

from jobworker.client import Client
from jobworker.model import JobSpec


class Ours:
    lanes = LANES

    def __init__(self, agent: Agent, client: Client, job: str) -> None:
        self._agent = agent
        self._client = client
        self._job = job

    async def run(self, lane: int) -> None:
        await through_api(self._client)

    async def status(self) -> None:
        await self._client.call("job.status", id=self._job)

    async def hold(self, count: int) -> tuple[int, int]:
        before = sum(map(private_memory, self._agent.pids.values()))
        await in_flight(16, count, lambda: sleeping_job(self._client))
        return before, sum(map(private_memory, self._agent.pids.values()))


@contextlib.asynccontextmanager
async def start() -> Running:
    async with running_agent() as agent, agent.client() as client:
        job = await client.create(JobSpec(argv=["true"]))
        yield Ours(agent, client, job.id)
