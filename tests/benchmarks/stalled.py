"""What the agent holds for a reader that never reads, with a GiB of output unread behind it."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator

from tests.benchmarks.figures import forget_peak, peak_memory, private_memory, table
from tests.benchmarks.fixtures import Agent, require, running_agent
from tests.benchmarks.pumped import write
from tests.benchmarks.readers import SUBPROTOCOLS
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.typing import Subprotocol

from jobworker.client import Client

SIZE = 1 << 30
ROUNDS = 3
KB = 1000


async def measure() -> None:
    rows = [["frames", "agent grew by kB", "at its peak by kB"]]
    async with running_agent() as agent, agent.client() as client:
        await write(agent, client, SIZE // 8, 65536)  # what is done at the first job only
        for kind in ("text", "binary"):
            found = [await behind_a_stalled_reader(agent, client, kind) for _ in range(ROUNDS)]
            rows.append(
                [kind, *(", ".join(f"{size / KB:.0f}" for size in sizes) for sizes in zip(*found, strict=True))]
            )
    table(f"Private memory of the agent with {SIZE >> 30} GiB unread behind a reader that never reads", rows)


async def behind_a_stalled_reader(agent: Agent, client: Client, kind: str) -> tuple[int, int]:
    """Return by how many bytes the agent had grown when the job had written all, and at its peak before."""
    pid = agent.pids["agent"]
    async with connection(agent, kind) as stuck:
        before, resident = private_memory(pid), forget_peak(pid)
        grown = peak = 0

        @contextlib.asynccontextmanager
        async def beside(job: str) -> AsyncIterator[None]:
            nonlocal grown, peak
            await never_read(stuck, job)
            yield
            grown, peak = private_memory(pid) - before, peak_memory(pid) - resident

        await write(agent, client, SIZE, 65536, beside=beside)
        return grown, peak


@contextlib.asynccontextmanager
async def connection(agent: Agent, kind: str) -> AsyncIterator[ClientConnection]:
    connection = await websocket_connect(
        agent.address,
        ssl=ssl.create_default_context(cafile=agent.ca),
        subprotocols=[Subprotocol(SUBPROTOCOLS[kind])],
        additional_headers={"Authorization": f"Bearer {agent.token}"},
        compression=None,
        max_size=None,
    )
    try:
        yield connection
    finally:
        connection.transport.abort()
        await connection.wait_closed()


async def never_read(connection: ClientConnection, job: str) -> None:
    """Subscribe, and let what comes wait in the socket."""
    request = {"jsonrpc": "2.0", "id": 1, "method": "log.subscribe", "params": {"id": job}}
    await connection.send(json.dumps(request))
    async with asyncio.timeout(10):
        answer = json.loads(await connection.recv())
    require("result" in answer, f"log.subscribe: {answer}")
    connection.transport.pause_reading()
