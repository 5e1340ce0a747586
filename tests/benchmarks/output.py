"""100 MB of one job's output to one subscriber, and beside a second one that never reads."""

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from tests.benchmarks.figures import forget_peak, median_and_range, peak_memory, private_memory, ratio, table
from tests.benchmarks.fixtures import Agent, require, running_agent
from tests.benchmarks.starts import through_api
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.typing import Subprotocol

from jobworker.client import Client
from jobworker.model import JobSpec, rfc3339
from jobworker.protocol import PATH, SUBPROTOCOL

ROUNDS = 5
SIZE = 100_000_000
CHUNK = 65536
LINE = b"x" * 99 + b"\n"
EXPECTED = LINE * (CHUNK // len(LINE) + 2)  # any chunk is a slice of it
JOB = JobSpec(shell=f"yes {LINE.decode().strip()} | head -c {SIZE}")
MB = 1_000_000


@dataclass
class Flow:
    """One time through: how fast, and by how much the agent had grown afterwards and at its peak, in bytes."""

    speed: float
    grown: int
    peak: int


async def measure_one() -> None:
    """One subscriber alone."""
    async with running_agent() as agent, agent.client() as client:
        await through_api(client)  # what is done at the first job only
        limits, flows = [], []
        for _ in range(ROUNDS):
            limits.append(await plain(agent))
            flows.append(await follow(agent, client))
    speeds = [flow.speed for flow in flows]
    rows = [
        ["", "MB/s", "limit", "ratio", "agent grew by MB", "at its peak by MB"],
        ["one subscriber", median_and_range(speeds), median_and_range(limits), ratio(speeds, limits), *growth(flows)],
    ]
    table(f"{SIZE // MB} MB of one job over TLS, {ROUNDS} rounds; the limit sends the same frames from memory", rows)


async def measure_stalled() -> None:
    """The same beside a second subscriber that never reads; the limit is the same without it."""
    async with running_agent() as agent, agent.client() as client:
        await through_api(client)
        alone, beside = [], []
        for _ in range(ROUNDS):
            alone.append(await follow(agent, client))
            beside.append(await follow(agent, client, stalled=True))
    limits, speeds = [flow.speed for flow in alone], [flow.speed for flow in beside]
    rows = [
        ["", "MB/s", "limit", "ratio", "agent grew by MB", "at its peak by MB"],
        [
            "beside one that never reads",
            median_and_range(speeds),
            median_and_range(limits),
            ratio(speeds, limits),
            *growth(beside),
        ],
    ]
    table(f"{SIZE // MB} MB beside a second subscriber that never reads, {ROUNDS} rounds; the limit is alone", rows)


def growth(flows: list[Flow]) -> list[str]:
    """Return the worst of all rounds."""
    return [f"{max(flow.grown for flow in flows) / MB:.1f}", f"{max(flow.peak for flow in flows) / MB:.1f}"]


async def follow(agent: Agent, client: Client, *, stalled: bool = False) -> Flow:
    """Run the job and receive its output, every byte of it compared; leave no log behind."""
    async with contextlib.AsyncExitStack() as stack:
        never_reads = await stack.enter_async_context(NeverReads.connected(agent)) if stalled else None
        pid = agent.pids["agent"]
        before, resident, began = private_memory(pid), forget_peak(pid), time.perf_counter()
        subscription = await client.run(JOB)
        if never_reads is not None:
            await never_reads.subscribe(subscription.job.id)
        size = 0
        async for chunk in subscription:
            at = size % len(LINE)
            right = chunk.offset == size and chunk.data == EXPECTED[at : at + len(chunk.data)]
            require(right, f"byte {size} of the output, or one after it, is not what the job wrote")
            size += len(chunk.data)
        speed = size / MB / (time.perf_counter() - began)
        flow = Flow(speed, private_memory(pid) - before, peak_memory(pid) - resident)
        end = subscription.end
        exited = end is not None and end.exit is not None and end.exit.code == 0
        require(size == SIZE and exited, f"{size} bytes came; expected {SIZE}; {end}")
    await client.delete(subscription.job.id)
    return flow


class NeverReads:
    """A second connection that subscribes and then lets the output wait in the socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, agent: Agent) -> "AsyncIterator[NeverReads]":
        headers = {"Authorization": f"Bearer {agent.token}"}
        connection = await websocket_connect(
            agent.address,
            ssl=ssl.create_default_context(cafile=agent.ca),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=headers,
            compression=None,
            max_size=None,
            max_queue=1,
        )
        try:
            yield cls(connection)
        finally:
            connection.transport.abort()
            await connection.wait_closed()

    async def subscribe(self, job: str) -> None:
        request = {"jsonrpc": "2.0", "id": 1, "method": "log.subscribe", "params": {"id": job}}
        await self._connection.send(json.dumps(request))
        answer = json.loads(await self._connection.recv())
        require("result" in answer, f"log.subscribe: {answer}")


async def plain(agent: Agent) -> float:
    """Receive frames like the agent's from a server that does nothing else; return MB of output a second."""
    frames = -(-SIZE // CHUNK)
    data = {"subscription": "s1", "job": "0" * 12, "offset": SIZE, "stream": "stdout"}
    data |= {"time": rfc3339(time.time_ns()), "data": EXPECTED[:CHUNK].decode(), "encoding": "utf8"}
    frame = msgspec.json.encode({"jsonrpc": "2.0", "method": "log.data", "params": data})
    files = [Path(__file__).with_name("plain.py"), agent.home.tls / "server.pem", agent.home.tls / "server.key"]
    command = [sys.executable, *(str(file) for file in files), str(frames)]
    server = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(frame)
    server.stdin.close()
    address = f"wss://localhost:{int(await server.stdout.readline())}{PATH}"
    context = ssl.create_default_context(cafile=agent.ca)
    async with websocket_connect(address, ssl=context, compression=None, max_size=None) as connection:
        began = time.perf_counter()
        for _ in range(frames):
            message = await connection.recv(decode=False)
            require(message == frame, "the plain server sent something else")
        speed = frames * CHUNK / MB / (time.perf_counter() - began)
    require(await server.wait() == 0, "the plain server failed")
    return speed
