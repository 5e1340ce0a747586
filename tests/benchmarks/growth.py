"""What 100,000 jobs on record and 2,000 connections change: each figure beside an agent that has neither."""

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import NamedTuple

from tests.benchmarks import results
from tests.benchmarks.fanout import written
from tests.benchmarks.figures import cpu_seconds, median_and_range, private_memory, table
from tests.benchmarks.fixtures import Agent, agent_on, state_folder
from tests.benchmarks.readers import flow, of_job
from tests.benchmarks.recorded import COPIES, LISTS, fill, list_once
from tests.benchmarks.starts import in_flight, through_api
from tests.benchmarks.status import Load, calls, go

from jobworker.client import Client

CONNECTIONS = 2000
AT_ONCE = 500  # connections of one process
CONFIG = """
[limits]
connections = 4000
connections_per_principal = 0
requests_per_second = 0
"""
ROUNDS = 7
LOG_BYTES = 50_000_000
PAUSE = 0.1
QUIET_JOBS = 5  # in each round, each after a pause
LIST_CALLS = 15  # in each round, of each list
IDLE_SECONDS = 20.0  # in which each connection is pinged once
LOADS = (Load("status, in turn", 1, 1, 300), Load("status, 64 pipelined", 1, 64, 2000))


class Side(NamedTuple):
    """One of the two agents that are compared."""

    agent: Agent
    client: Client
    log: str  # a job that has written `LOG_BYTES`
    callers: dict[str, asyncio.subprocess.Process]  # by name of the load


Measured = dict[str, float]  # by name of a figure: milliseconds


async def measure() -> None:
    with state_folder() as few, state_folder() as many:
        await fill(few, many, CONFIG)
        async with (
            agent_on(few) as small,
            agent_on(many) as large,
            connected(large) as held,
            side(small) as without,
            side(large) as with_both,
        ):
            rows = await compare(without, with_both)
    head = ["", "with neither", "with both", "ratio"]
    table(f"With {COPIES:,} jobs on record and {CONNECTIONS:,} connections, in ms, {ROUNDS} rounds", [head, *rows])
    table(f"What the agent takes for each of {CONNECTIONS:,} connections that do nothing", held)


@contextlib.asynccontextmanager
async def connected(agent: Agent) -> AsyncIterator[list[list[str]]]:
    """Hold the connections; give the rows of what they take."""
    pid = agent.pids["agent"]
    whoami = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "auth.whoami"})
    async with contextlib.AsyncExitStack() as stack:
        spent, memory = cpu_seconds(pid), private_memory(pid)
        for _ in range(CONNECTIONS // AT_ONCE):
            load = Load("", AT_ONCE, 1, AT_ONCE)
            callers = await stack.enter_async_context(calls(agent, agent.address, load, whoami))
            await go(callers)
        spent, memory = cpu_seconds(pid) - spent, private_memory(pid) - memory
        idle = cpu_seconds(pid)
        await asyncio.sleep(IDLE_SECONDS)
        idle = (cpu_seconds(pid) - idle) / IDLE_SECONDS
        yield [
            ["memory, kB", f"{memory / CONNECTIONS / 1000:.1f}"],
            ["CPU to connect, ms", f"{spent / CONNECTIONS * 1000:.2f}"],
            ["CPU a second, us", f"{idle / CONNECTIONS * 1e6:.1f}"],
        ]


@contextlib.asynccontextmanager
async def side(agent: Agent) -> AsyncIterator[Side]:
    async with agent.client() as client, contextlib.AsyncExitStack() as stack:
        await in_flight(16, 50, lambda: through_api(client))  # what is done at first use only
        log = (await written(client, LOG_BYTES)).id
        status = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "job.status", "params": {"id": log}})
        callers = {
            load.name: await stack.enter_async_context(calls(agent, agent.address, load, status)) for load in LOADS
        }
        yield Side(agent, client, log, callers)


async def compare(*sides: Side) -> list[list[str]]:
    """Measure one, then the other, again and again; return the rows of the table."""
    rounds: list[list[Measured]] = [[], []]
    for _ in range(ROUNDS):
        for number, one in enumerate(sides):
            measured: Measured = {}
            for part in (jobs, quiet_jobs, statuses, logs, lists):
                measured |= await part(one)
            rounds[number].append(measured)
    rows = []
    for name in rounds[0][0]:
        few, many = ([measured[name] for measured in found] for found in rounds)
        ratio = results.keep(f"growth: {name}, times that of an empty agent", many, few)
        rows.append([name, median_and_range(few, 2), median_and_range(many, 2), ratio])
    return rows


async def jobs(one: Side) -> Measured:
    """Return the time of each job, alone and among others, and the agent's CPU."""
    measured = {}
    for width, count in ((16, 200), (1, 60)):
        spent = cpu_seconds(one.agent.pids["agent"])
        measured[f"a job, {width} in flight"] = 1000 / await in_flight(width, count, lambda: through_api(one.client))
        spent = cpu_seconds(one.agent.pids["agent"]) - spent
        if width > 1:
            measured[f"CPU of a job, {width} in flight"] = spent / count * 1000
    return measured


async def quiet_jobs(one: Side) -> Measured:
    taken = []
    for _ in range(QUIET_JOBS):
        await asyncio.sleep(PAUSE)
        taken.append(await timed(lambda: through_api(one.client)))
    return {"a job after a pause": statistics.median(taken)}


async def statuses(one: Side) -> Measured:
    """Return the time of each call, and the agent's CPU."""
    measured = {}
    for load in LOADS:
        spent = cpu_seconds(one.agent.pids["agent"])
        measured[load.name] = await go(one.callers[load.name]) / load.calls * 1000
        spent = cpu_seconds(one.agent.pids["agent"]) - spent
        measured[f"CPU of {load.name}"] = spent / load.calls * 1000
    return measured


async def logs(one: Side) -> Measured:
    """Return the time of a log of `LOG_BYTES` to one reader."""
    measured = {}
    for kind in ("text", "binary"):
        async with of_job(one.agent, one.log, kind, size=LOG_BYTES) as reader:
            seconds, _ = await flow(reader, one.agent.pids["agent"])
        measured[f"a log of {LOG_BYTES // 1_000_000} MB, {kind}"] = seconds * 1000
    return measured


async def lists(one: Side) -> Measured:
    measured = {}
    for name, query in LISTS.items():
        taken = [await timed(partial(list_once, query, one.client)) for _ in range(LIST_CALLS)]
        measured[f"list {name}"] = statistics.median(taken)
    return measured


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """Return the milliseconds that a call takes."""
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000
