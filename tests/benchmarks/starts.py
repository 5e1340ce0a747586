"""How many jobs a second: /bin/true through the whole API, beside what this machine can start at all."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.benchmarks import results
from tests.benchmarks.figures import median_and_range, table
from tests.benchmarks.fixtures import LoneKeeper, lone_keeper, require, running_agent

from jobworker.client import Client
from jobworker.model import JobSpec

ROUNDS = 5
JOBS = 200  # in each round
IN_FLIGHT = (1, 16)
PROGRAM = "/bin/true"
# What takes a real fork: another user, where we may.
OTHER: dict[str, Any] = {"nice": 1} if os.geteuid() else {"user": {"uid": 65534, "gid": 65534, "groups": []}}
AS = "with nice" if os.geteuid() else "as another user"


async def measure() -> None:
    async with running_agent() as agent, lone_keeper() as keeper, agent.client() as client:
        await in_flight(16, 50, lambda: through_api(client))  # what is done at first use only
        await in_flight(16, 50, lambda: through_keeper(keeper))
        rows = [["in flight", "", "jobs/s", "limit", "ratio"]]
        for width in IN_FLIGHT:
            limits, keepers, others, whole = [], [], [], []
            for _ in range(ROUNDS):
                limits.append(bare(width, JOBS))
                keepers.append(await in_flight(width, JOBS, lambda: through_keeper(keeper)))
                others.append(await in_flight(width, JOBS, lambda: keeper.run([PROGRAM], **OTHER)))
                whole.append(await in_flight(width, JOBS, lambda: through_api(client)))
            figures = {"job.run to log.end": whole, "keeper and pump alone": keepers, f"the same, {AS}": others}
            for what, values in figures.items():
                ratio = results.keep(f"starts: {width} in flight, {what}", values, limits)
                rows.append([str(width), what, median_and_range(values), median_and_range(limits), ratio])
    title = f"Jobs per second: {PROGRAM}, {ROUNDS} rounds of {JOBS}; the limit is posix_spawn and waitpid alone"
    table(title, rows)


async def in_flight(width: int, count: int, run: Callable[[], Awaitable[None]]) -> float:
    """Run `count` jobs, `width` at any time; return how many a second."""
    left = iter(range(count))

    async def lane() -> None:
        for _ in left:
            await run()

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(width)))
    return count / (time.perf_counter() - began)


async def through_api(client: Client) -> None:
    subscription = await client.run(JobSpec(argv=[PROGRAM]))
    said = [chunk async for chunk in subscription]
    end = subscription.end
    require(not said and end is not None and end.exit is not None and end.exit.code == 0, f"{PROGRAM}: {said} {end}")


async def through_keeper(keeper: LoneKeeper) -> None:
    await keeper.run([PROGRAM])


def bare(width: int, count: int) -> float:
    """Spawn `width` processes and wait for each, until there were `count`; return how many a second."""
    began = time.perf_counter()
    for first in range(0, count, width):
        pids = [os.posix_spawn(PROGRAM, [PROGRAM], {}) for _ in range(min(width, count - first))]
        for pid in pids:
            _, status = os.waitpid(pid, 0)
            require(status == 0, f"{PROGRAM}: wait status {status}")
    return count / (time.perf_counter() - began)
