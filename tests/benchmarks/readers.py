"""Cheap readers of the agent, or of a plain server that sends the same frames from memory: other processes."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from tests.benchmarks import plain, receiver
from tests.benchmarks.figures import cpu_seconds
from tests.benchmarks.fixtures import DEADLINE, Agent, require

from jobworker.logs.reader import CHUNK_BYTES, Chunk
from jobworker.protocol import BINARY_SUBPROTOCOL, PATH, SUBPROTOCOL
from jobworker.server import log_frames
from jobworker.units import rfc3339

SUBPROTOCOLS = {"text": SUBPROTOCOL, "binary": BINARY_SUBPROTOCOL}
FOR_EVER = 1 << 60
LINE = b"x" * 99 + b"\n"


class Readers:
    """Connections that count what arrives; see receiver.py."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def go(self) -> float:
        """Have all of them ask for the log; return when that was."""
        assert self._process.stdin is not None
        began = time.monotonic()
        self._process.stdin.write(b"go\n")
        return began

    async def done(self) -> float:
        """Return when the last byte arrived at the last of them."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            said = await self._process.stdout.readline()
        require(bool(said), "a reader has failed")
        return float(said)


@contextlib.asynccontextmanager
async def readers(
    address: str, ca: Path, token: str, request: str, kind: str, *, count: int = 1, size: int = FOR_EVER
) -> AsyncIterator[Readers]:
    """Connect `count` readers that will send `request` and are done after `size` bytes each."""
    arguments = [address, str(ca), str(count), str(size), request, SUBPROTOCOLS[kind]]
    async with child(receiver.__file__, *arguments) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(token.encode() + b"\n")
        async with asyncio.timeout(DEADLINE):
            require(await process.stdout.readline() == b"ready\n", "the readers cannot connect")
        yield Readers(process)


def of_job(agent: Agent, job: str, kind: str, *, count: int = 1, size: int = FOR_EVER) -> "_Readers":
    """Connect readers of one job's log from byte 0 on."""
    request = {"jsonrpc": "2.0", "id": 1, "method": "log.subscribe", "params": {"id": job}}
    return readers(agent.address, agent.ca, agent.token, json.dumps(request), kind, count=count, size=size)


_Readers = contextlib.AbstractAsyncContextManager[Readers]


@contextlib.asynccontextmanager
async def plain_server(agent: Agent, kind: str, size: int) -> AsyncIterator[tuple[str, int]]:
    """Serve `size` bytes of a log from memory, with the agent's certificate; give the address and the pid."""
    frames = -(-size // CHUNK_BYTES)
    chunk = Chunk(size, 0, time.time_ns(), (LINE * (CHUNK_BYTES // len(LINE) + 1))[:CHUNK_BYTES])
    arguments = [str(agent.home.tls / "server.pem"), str(agent.home.tls / "server.key"), str(frames), kind]
    async with child(plain.__file__, *arguments) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame(kind, chunk))
        process.stdin.close()
        port = int(await process.stdout.readline())
        yield f"wss://localhost:{port}{PATH}", process.pid


def frame(kind: str, chunk: Chunk) -> bytes:
    """Return a chunk as the agent sends it."""
    about = {"subscription": "s1", "job": "0" * 12, "offset": chunk.offset, "stream": "stdout"}
    about |= {"time": rfc3339(chunk.time)}
    if kind == "binary":
        return msgspec.json.encode(about) + b"\n" + chunk.data
    return log_frames.notification("log.data", about | {"data": chunk.data.decode(), "encoding": "utf8"})


async def flow(readers: Readers, server: int) -> tuple[float, float]:
    """Let them read; return the seconds until all have everything, and of those the server's on a processor."""
    spent, began = cpu_seconds(server), readers.go()
    ended = await readers.done()
    return ended - began, cpu_seconds(server) - spent


@contextlib.asynccontextmanager
async def child(program: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, program, *arguments]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # as the agent: the kernel shares out the processors by session
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
