"""What plugins cost: those that block their threads for a minute, to others; an observer and a policy, to a job."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

from tests.benchmarks.figures import median_and_range, ratio, table
from tests.benchmarks.fixtures import require
from tests.benchmarks.starts import in_flight, through_api
from tests.hostile import watched
from tests.hostile.outcome import quantile
from tests.support import faulty
from tests.support.plugin_site import install_plugin

from jobworker.client import Client
from jobworker.config import BUILT_IN
from jobworker.errors import PolicyRejected
from jobworker.model import JobSpec, StopSpec
from jobworker.paths import Home
from jobworker.plugin.host import PluginHost
from jobworker.testing import RunningAgent
from jobworker_plugins.graceful import Graceful

BLOCKED = 60.0  # seconds
ROUNDS, JOBS, WIDTH = 5, 200, 16
CALLS = 5000
OBSERVER = """
from jobworker.interfaces import hookimpl
@hookimpl
def job_changed(event):
    pass
"""
SILENT = """
from jobworker.interfaces import hookimpl
@hookimpl
def register_stop_strategies(context):
    return []
"""


@asynccontextmanager
async def agent_with(name: str, source: str) -> AsyncIterator[RunningAgent]:
    """Run an agent with one plugin more, whose loop is watched."""
    with tempfile.TemporaryDirectory(prefix="jobworker-bench-") as folder:
        site = Path(folder) / "site"
        site.mkdir()
        install_plugin(site, name, source)
        os.environ |= {"PYTHONPATH": str(site), "FAULTY_GATE": str(site / "gate")}
        enabled = ", ".join(f'"{each}"' for each in [*BUILT_IN, name])
        agent = RunningAgent(
            Home(Path(folder) / "home"), f"[plugins]\nenabled = [{enabled}]\n", program=[watched.__file__]
        )
        agent.start()
        try:
            yield agent
        finally:
            (site / "gate").touch()
            await agent.clean()


async def measure() -> None:
    await beside_one_that_blocks()
    await of_each_job()
    await of_each_call()


async def beside_one_that_blocks() -> None:
    rows = [["", "ping p50 ms", "p99", "longest", "job p50 ms", "p99", "longest", "pause of the loop ms"]]
    for kind, what in (("none", "nobody blocks"), ("sleeps", "one sleeps"), ("spins", "one computes")):
        async with agent_with(kind, Path(faulty.__file__).read_text()) as agent, agent.client() as client:
            await through_api(client)
            blocking = asyncio.create_task(_block(client, kind))
            pings, jobs = await _work(agent, BLOCKED if kind != "none" else BLOCKED / 3)
            state = next(each for each in (await client.call("plugin.list"))["plugins"] if each["name"] == kind)
            require(state["blocked"] == (kind != "none"), f"{kind}: {state}")
            pause = float((agent.home.path / "pause").read_text()) * 1000
            await blocking
        told = [f"{quantile(values, share):.2f}" for values in (pings, jobs) for share in (0.5, 0.99, 1)]
        rows.append([what, *told, f"{pause:.1f}"])
    table(
        f"Calls of others while a plugin blocks its thread for {BLOCKED:g} s (a third of that where nobody does)",
        rows,
    )


async def _block(client: Client, kind: str) -> None:
    with suppress(PolicyRejected):
        await client.create(JobSpec(argv=["true"], stop=StopSpec(strategy=f"{kind}.check", options={"n": 1})))


async def _work(agent: RunningAgent, seconds: float) -> tuple[list[float], list[float]]:
    """Ping every millisecond and run jobs, each over a connection of its own; return how long each took."""
    end = time.monotonic() + seconds
    pings: list[float] = []
    jobs: list[float] = []

    async def ping() -> None:
        async with agent.client() as client:
            while (began := time.monotonic()) < end:
                await client.call("agent.ping")
                pings.append(time.monotonic() - began)
                await asyncio.sleep(0.001)

    async def run() -> None:
        async with agent.client() as client:
            while (began := time.monotonic()) < end:
                await through_api(client)
                jobs.append(time.monotonic() - began)
                await asyncio.sleep(0.05)

    await asyncio.gather(ping(), run())
    return pings, jobs


async def of_each_job() -> None:
    """Compare jobs with and without an observer, and without the limit that every other job here has."""
    rounds: dict[str, list[float]] = {"none": [], "an observer": [], "a time limit": []}
    async with (
        agent_with("listener", OBSERVER) as observed,
        agent_with("silent", SILENT) as plain,
        observed.client() as one,
        plain.client() as other,
    ):
        for client in (one, other):
            await in_flight(WIDTH, 50, lambda: through_api(client))  # noqa: B023  # it is awaited here
        for _ in range(ROUNDS):
            rounds["none"].append(await in_flight(WIDTH, JOBS, lambda: through_api(other)))
            rounds["an observer"].append(await in_flight(WIDTH, JOBS, lambda: through_api(one)))
            rounds["a time limit"].append(await in_flight(WIDTH, JOBS, lambda: _limited(other)))
    rows = [["hook", "jobs/s", "ratio", "more per job µs"]]
    for name, values in rounds.items():
        more = (1 / median(values) - 1 / median(rounds["none"])) * 1e6
        rows.append([name, median_and_range(values), ratio(values, rounds["none"]), f"{more:.0f}"])
    table(f"Jobs per second with a hook that is called for each, {ROUNDS} rounds of {JOBS}, {WIDTH} in flight", rows)


async def _limited(client: Client) -> None:
    subscription = await client.run(JobSpec(argv=["/bin/true"], timeout=3600))
    async for _ in subscription:
        pass
    require(subscription.end is not None, "a job without an end")


async def of_each_call() -> None:
    """A call there and back between the two threads, with nothing to do."""
    host, strategy = PluginHost(), Graceful()
    host.own(strategy, "graceful")
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await host.run(strategy, lambda: strategy.check({}))
        took.append(time.perf_counter() - began)
    host.close()
    rows = [
        ["", "p50 µs", "p99 µs"],
        ["a call", f"{quantile(took, 0.5) * 1000:.0f}", f"{quantile(took, 0.99) * 1000:.0f}"],
    ]
    table(f"A call into a plugin and back, {CALLS} of them", rows)
