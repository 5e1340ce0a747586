"""What one job takes of the processors, process by process, and what one piece of a log takes before it is sent.

What a target of the project allows stands beside it: the difference is what stands between.
"""

import asyncio
import os
import resource
import statistics
import time
from collections.abc import Callable

import msgspec
from tests.benchmarks.fanout import written
from tests.benchmarks.figures import cpu_seconds, table
from tests.benchmarks.fixtures import Agent, running_agent
from tests.benchmarks.readers import LINE, flow, of_job, plain_server, readers
from tests.benchmarks.starts import bare, in_flight, through_api

from jobworker.client import Client
from jobworker.logs.reader import CHUNK_BYTES
from jobworker.protocol import split_text

ROUNDS = 7
CONFIG = "[limits]\nrequests_per_second = 0\n"
COLUMNS = {"1 in flight": (1, 60, 0.0), "16 in flight": (16, 200, 0.0), "after 100 ms": (1, 8, 0.1)}
TARGETS = {"agent": "400", "keeper": "280", "pump": "100"}  # at 16 in flight
LOG_BYTES = 50_000_000
REPEATED = 200  # times that a step is timed
Used = dict[str, float]  # by name of a process: microseconds on a processor for each job


async def measure() -> None:
    async with running_agent(CONFIG) as agent, agent.client() as client:
        await in_flight(16, 100, lambda: through_api(client))  # what is done at first use only
        rounds: dict[str, list[Used]] = {name: [] for name in COLUMNS}
        for _ in range(ROUNDS):
            for name, how in COLUMNS.items():
                rounds[name].append(await used(agent, client, *how))
        _print_jobs({name: medians(found) for name, found in rounds.items()})
        await _print_pieces(agent, client)


async def used(agent: Agent, client: Client, width: int, count: int, pause: float) -> Used:
    async def run() -> None:
        await asyncio.sleep(pause)
        await through_api(client)

    before = {name: cpu_seconds(pid) for name, pid in agent.pids.items()} | {"client": time.process_time()}
    await in_flight(width, count, run)
    after = {name: cpu_seconds(pid) for name, pid in agent.pids.items()} | {"client": time.process_time()}
    own, children = time.process_time(), _of_children()
    speed = bare(width, count)
    return {name: (after[name] - before[name]) / count * 1e6 for name in after} | {
        "posix_spawn and the job itself": (time.process_time() - own + _of_children() - children) / count * 1e6,
        "wall time of posix_spawn alone": 1e6 / speed,
    }


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def medians(rounds: list[Used]) -> Used:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def _print_jobs(columns: dict[str, Used]) -> None:
    names = next(iter(columns.values()))
    rows = [["", *columns, "target at 16"]]
    rows += [[name, *(f"{found[name]:.0f}" for found in columns.values()), TARGETS.get(name, "")] for name in names]
    *processes, _ = names
    together = {name: sum(found[process] for process in processes) for name, found in columns.items()}
    rows.append(["all processes together", *(f"{each:.0f}" for each in together.values()), ""])
    cores = os.cpu_count() or 1
    most = {name: cores / together[name] * 1e6 for name in columns}
    rows.append([f"jobs/s that {cores} processors allow", *(f"{each:.0f}" for each in most.values()), ""])
    table(f"What one job takes of the processors, in us, median of {ROUNDS} rounds", rows)


async def _print_pieces(agent: Agent, client: Client) -> None:
    """Print what the agent takes for each piece of a log, and of that the steps that only text needs."""
    job = await written(client, LOG_BYTES)
    pieces = LOG_BYTES / CHUNK_BYTES
    rows = [["", "text", "binary"], ["agent"], ["frames from memory"]]
    for kind in ("text", "binary"):
        ours, limits = [], []
        for _ in range(ROUNDS):
            async with of_job(agent, job.id, kind, size=LOG_BYTES) as one:
                ours.append((await flow(one, agent.pids["agent"]))[1])
            async with (
                plain_server(agent, kind, LOG_BYTES) as (address, pid),
                readers(address, agent.ca, "", "go", kind, size=LOG_BYTES) as one,
            ):
                limits.append((await flow(one, pid))[1])
        rows[1].append(f"{statistics.median(ours) / pieces * 1e6:.0f}")
        rows[2].append(f"{statistics.median(limits) / pieces * 1e6:.0f}")
    data = (LINE * (CHUNK_BYTES // len(LINE) + 1))[:CHUNK_BYTES]
    text, encode = data.decode(), msgspec.json.Encoder().encode
    rows.append(["of that: bytes to text", f"{timed(lambda: split_text(data)):.1f}", "0"])
    rows.append(["of that: text to JSON", f"{timed(lambda: encode(text)):.1f}", "0"])
    table(f"What {CHUNK_BYTES // 1024} KiB of a log take of the processors, in us", rows)


def timed(step: Callable[[], object]) -> float:
    """Return how many microseconds a step takes."""
    taken = []
    for _ in range(REPEATED):
        began = time.thread_time()
        step()
        taken.append(time.thread_time() - began)
    return statistics.median(taken) * 1e6
