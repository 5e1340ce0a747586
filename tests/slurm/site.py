"""A cluster with an agent that uses it: start jobs whose bytes, codes and runs are known, and compare."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.conftest import RunningAgent
from tests.slurm import program
from tests.slurm.cluster import Cluster

from jobworker.client import Client
from jobworker.config import BUILT_IN
from jobworker.paths import Home

T = TypeVar("T")
PLUGIN = Path(__file__).parents[2] / "plugins/jobworker-slurm/jobworker_slurm"
LIMIT = 120.0  # seconds until what should happen counts as not happening
CONFIG = """
[plugins]
enabled = {enabled}
[plugins.slurm]
folder = "{folder}"
conf = "{conf}"
python = "{python}"
timeout = 5
"""


@dataclass(frozen=True)
class Expected:
    """A job of `program`, by its id, and what it is to write and return."""

    id: str
    name: str
    out: int
    err: int
    code: int


@dataclass
class Tally:
    """What came of jobs."""

    finished: int = 0
    lost: int = 0
    other: int = 0  # ends that are neither
    dup_runs: int = 0
    bytes_diff: int = 0
    code_diff: int = 0
    nodes: dict[str, int] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)  # the messages of those that have not finished


class Site:
    """A context manager; `client` is an admin's."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self.cluster = cluster
        self.notes = path / "notes"
        self.shared = path / "shared"
        for folder in (path, self.notes, self.shared):
            folder.mkdir(exist_ok=True)
        config = CONFIG.format(
            enabled=[*BUILT_IN, "slurm"], folder=self.shared, conf=cluster.env["SLURM_CONF"], python=sys.executable
        ).replace("'", '"')
        self.agent = RunningAgent(Home(path / "home"), config)
        self.client: Client
        self._count = 0
        self._site = path / "site-packages"  # has the plugin, for the agent

    async def __aenter__(self) -> "Site":
        _install(self._site)
        os.environ["PYTHONPATH"] = str(self._site)
        self.agent.start()
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.__aexit__(None, None, None)
        await self.agent.clean()
        del os.environ["PYTHONPATH"]

    async def _connect(self) -> None:
        self.client = self.agent.client()
        await self.client.__aenter__()

    async def restart(self) -> None:
        """Kill the agent, and start it again."""
        self.agent.kill()
        await self.client.__aexit__(None, None, None)
        self.agent.start()
        await self._connect()

    # Jobs

    async def start(self, argv: list[str], options: dict[str, Any] | None = None, **spec: Any) -> str:
        """Create and start a job; return its id as soon as it is queued."""
        executor = {"name": "slurm", "options": options or {}}
        job = await self.client.call("job.create", spec={"argv": argv, "executor": executor, **spec})
        await self.client.call("job.start", id=job["id"])
        return str(job["id"])

    async def program(
        self, seconds: float = 0, out: int = 50_000, err: int = 500, code: int = 0, node: str = "", **spec: Any
    ) -> Expected:
        """Start a job of `program`."""
        self._count += 1
        name = f"job{self._count}"
        argv = [sys.executable, "-S", program.__file__, str(self.notes), name, str(seconds), str(out), str(err)]
        id_ = await self.start([*argv, str(code)], {"nodelist": node} if node else {}, **spec)
        return Expected(id_, name, out, err, code)

    async def status(self, job: str) -> dict[str, Any]:
        return dict(await self.client.call("job.status", id=job))

    async def until_state(self, job: str, *states: str) -> dict[str, Any]:
        """Return the job when it is in one of these states."""

        async def reached() -> dict[str, Any] | None:
            status = await self.status(job)
            return status if status["state"] in states else None

        return await until(reached, f"job {job} is not {states}")

    async def began(self, job: Expected) -> None:
        """Return when the program has begun."""

        async def noted() -> bool:
            return (self.notes / job.name).exists()

        await until(noted, f"{job.name} does not begin")

    async def end(self, job: str) -> dict[str, Any]:
        """Return the job when it has ended."""
        async with asyncio.timeout(LIMIT):
            await self.client.wait(job)
        return await self.status(job)

    async def log(self, job: str) -> dict[str, bytes]:
        """Return the log of a job by streams."""
        found = {"stdout": b"", "stderr": b""}
        async for chunk in await self.client.subscribe(job, 0, follow=False):
            found[str(chunk.stream)] += chunk.data
        return found

    async def compare(self, jobs: Iterable[Expected]) -> Tally:
        """Wait for the ends of jobs, and compare what came of them with what was to come."""
        tally = Tally()
        for job in jobs:
            status = await self.end(job.id)
            exit_ = status["exit"]
            node = status.get("node") or ""
            tally.nodes[node] = tally.nodes.get(node, 0) + 1
            lines = (self.notes / job.name).read_text().splitlines() if (self.notes / job.name).exists() else []
            tally.dup_runs += max(0, sum(line.startswith("began") for line in lines) - 1)
            if status["state"] == "lost" or exit_["reason"] == "lost":
                tally.lost += 1
                tally.why.append(exit_["message"])
                continue
            if exit_["reason"] != "finished":
                tally.other += 1
                tally.why.append(f"{exit_['reason']}: {exit_['message']}")
                continue
            tally.finished += 1
            tally.code_diff += exit_["code"] != job.code
            log = await self.log(job.id)
            tally.bytes_diff += log["stdout"] != program.output(job.name, job.out)
            tally.bytes_diff += log["stderr"] != program.output(f"{job.name}.err", job.err)
        return tally


def _install(site: Path) -> None:
    """Make the plugin look installed, in a folder of its own."""
    info = site / "jobworker_slurm-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jobworker-slurm\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jobworker]\nslurm = jobworker_slurm\n")
    (site / "jobworker_slurm").symlink_to(PLUGIN)


async def until(condition: Callable[[], Awaitable[T | None]], otherwise: str) -> T:
    """Return what the condition returns when that is true; Slurm reports nothing, so that it is asked repeatedly."""
    end = time.monotonic() + LIMIT
    while not (found := await condition()):
        assert time.monotonic() < end, otherwise
        await asyncio.sleep(0.1)
    return found
