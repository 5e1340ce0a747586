"""What a connection holds of a client that sends more than is handled."""

import asyncio
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from jobworker.protocol import MAX_MESSAGE
from jobworker.server.connection import MAX_QUEUED_BYTES, Connection

MESSAGES = 6


async def test_messages_that_wait_are_bounded_in_bytes() -> None:
    """While messages wait, no more is read than one beyond the bound; none is lost."""
    paused = asyncio.Event()
    sizes: asyncio.Queue[int] = asyncio.Queue()

    class Watched(Connection):
        def _parse_piece(self) -> None:
            super()._parse_piece()
            if self.recv_messages.paused:
                paused.set()

    async def handle(connection: ServerConnection) -> None:
        await paused.wait()
        sizes.put_nowait(sum(len(frame.data) for frame in connection.recv_messages.frames.queue))
        for _ in range(MESSAGES):
            sizes.put_nowait(len(await connection.recv()))

    options: dict[str, Any] = {"create_connection": Watched, "max_size": MAX_MESSAGE, "max_queue": 4}
    async with serve(handle, "127.0.0.1", 0, compression=None, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None) as client:
            for _ in range(MESSAGES):
                await client.send("x" * MAX_MESSAGE)
            assert await sizes.get() <= MAX_MESSAGE + MAX_QUEUED_BYTES
            assert [await sizes.get() for _ in range(MESSAGES)] == [MAX_MESSAGE] * MESSAGES
