"""Calls of `job.status` each second, and what an idle connection holds; beside both a bare echo over TLS."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

from tests.benchmarks import caller, echo, results
from tests.benchmarks.figures import cpu_seconds, median_and_range, private_memory, table
from tests.benchmarks.fixtures import DEADLINE, Agent, require, running_agent
from tests.benchmarks.readers import child
from tests.benchmarks.starts import through_api

from jobworker.client import Client
from jobworker.model import JobSpec
from jobworker.protocol import PATH

CONFIG = "[limits]\nrequests_per_second = 0\nconnections_per_principal = 0\n"
ROUNDS = 7
IDLE = 500  # connections


class Load(NamedTuple):
    """So many connections, with so many calls under way on each, make so many calls in a round."""

    name: str
    connections: int
    in_flight: int
    calls: int


LOADS = (Load("in turn", 1, 1, 1000), Load("64 pipelined", 1, 64, 6000), Load("50 connections", 50, 1, 5000))


async def measure() -> None:
    async with running_agent(CONFIG) as agent, agent.client() as client, echo_server(agent) as (address, server):
        await through_api(client)  # what is done at the first job only
        ended, running = await jobs(client)
        rows = [["", "calls/s", "echo", "ratio", "CPU µs", "echo"]]
        for state, job, loads in (("ended", ended, LOADS), ("running", running, LOADS[1:2])):
            for load in loads:
                name = f"{state} job, {load.name}"
                rows.append([name, *await compare(name, agent, job, address, server, load)])
        memory = [["", "kB a connection"]]
        for name, url, pid in (("agent", agent.address, agent.pids["agent"]), ("echo", address, server)):
            memory.append([name, f"{await idle(agent, url, pid) / 1000:.1f}"])
    table(f"`job.status` over TLS, {ROUNDS} rounds, requests not limited; the limit is a bare echo", rows)
    table(f"Private memory of an idle connection, at {IDLE}", memory)


async def jobs(client: Client) -> tuple[str, str]:
    """Return a job that has ended a moment ago, and one that runs and has written something."""
    ended = await client.create(JobSpec(argv=["true"]))
    await client.start(ended.id)
    await client.wait(ended.id)
    running = await client.create(JobSpec(shell="echo up; exec sleep 3600"))
    await client.start(running.id)
    return ended.id, running.id


async def compare(name: str, agent: Agent, job: str, address: str, server: int, load: Load) -> list[str]:
    """Return the cells of a row: both sides in turns, round by round."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "job.status", "params": {"id": job}})
    async with (
        calls(agent, agent.address, load, request) as ours,
        calls(agent, address, load, request) as bare,
    ):
        sides = [(ours, agent.pids["agent"]), (bare, server)]
        for side, _ in sides:
            await go(side)  # what is done at the first calls only
        speeds: list[list[float]] = [[], []]
        costs: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for number, (side, pid) in enumerate(sides):
                spent = cpu_seconds(pid)
                speeds[number].append(load.calls / await go(side))
                costs[number].append((cpu_seconds(pid) - spent) / load.calls * 1e6)
    return [
        median_and_range(speeds[0]),
        median_and_range(speeds[1]),
        results.keep(f"status: {name}, of an echo", *speeds),
        median_and_range(costs[0]),
        median_and_range(costs[1]),
    ]


async def idle(agent: Agent, address: str, pid: int) -> float:
    """Return the bytes that the process holds for each of many connections."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "auth.whoami"})
    async with calls(agent, address, Load("", 20, 1, 20), request) as first:
        await go(first)  # memory that is allocated once and used again
    before = private_memory(pid)
    async with calls(agent, address, Load("", IDLE, 1, IDLE), request) as held:
        await go(held)
        return (private_memory(pid) - before) / IDLE


async def go(process: asyncio.subprocess.Process) -> float:
    """Have the callers make their calls; return the seconds that took."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"go\n")
    async with asyncio.timeout(DEADLINE):
        line = await process.stdout.readline()
    require(bool(line), "a caller has failed")
    return float(line)


@contextlib.asynccontextmanager
async def calls(agent: Agent, address: str, load: Load, request: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Connect the callers of a load; see caller.py."""
    numbers = [str(number) for number in (load.connections, load.in_flight, load.calls)]
    async with child(caller.__file__, address, str(agent.ca), *numbers, request) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(agent.token.encode() + b"\n")
        async with asyncio.timeout(DEADLINE):
            require(await process.stdout.readline() == b"ready\n", "the callers cannot connect")
        yield process


@contextlib.asynccontextmanager
async def echo_server(agent: Agent) -> AsyncIterator[tuple[str, int]]:
    """Serve the echo with the agent's certificate; give the address and the pid."""
    async with child(
        echo.__file__, str(agent.home.tls / "server.pem"), str(agent.home.tls / "server.key")
    ) as process:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        yield f"wss://localhost:{port}{PATH}", process.pid
