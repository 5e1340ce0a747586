"""How long one job takes that comes after a pause, as every job does that a person starts."""

import asyncio
import os
import statistics
import time

from tests.benchmarks import results
from tests.benchmarks.figures import median_and_range, table
from tests.benchmarks.fixtures import require, running_agent
from tests.benchmarks.starts import PROGRAM, through_api

PAUSE = 0.1
JOBS = 60


async def measure() -> None:
    limits, whole, busy = [], [], []
    async with running_agent() as agent, agent.client() as client:
        await through_api(client)  # what is done at first use only
        for _ in range(JOBS):
            await asyncio.sleep(PAUSE)
            limits.append(bare())
            await asyncio.sleep(PAUSE)
            began = time.perf_counter()
            await through_api(client)
            whole.append(time.perf_counter() - began)
            began = time.perf_counter()
            await through_api(client)  # without a pause before it
            busy.append(time.perf_counter() - began)
    rows = [
        ["", "ms", "times the limit"],
        ["job.run to log.end", _ms(whole), results.keep("pauses: after a pause, times posix_spawn", whole, limits)],
        ["the same, at once after another", _ms(busy), f"{statistics.median(busy) / statistics.median(limits):.2f}"],
        ["posix_spawn and waitpid alone", _ms(limits), "1.00"],
    ]
    table(f"One job of {PROGRAM} after {PAUSE:g} s without any, {JOBS} times", rows)


def bare() -> float:
    """Return the seconds that the program takes by itself."""
    began = time.perf_counter()
    _, status = os.waitpid(os.posix_spawn(PROGRAM, [PROGRAM], {}), 0)
    require(status == 0, f"{PROGRAM}: wait status {status}")
    return time.perf_counter() - began


def _ms(values: list[float]) -> str:
    return median_and_range([value * 1000 for value in values], 1)
