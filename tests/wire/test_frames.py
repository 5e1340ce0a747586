"""Frames: too large, not text, or not TLS: the connection is closed, without an effect on others."""

import asyncio
import json
import socket
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Wire

pytestmark = pytest.mark.usefixtures("unharmed")


async def test_a_message_of_4_mib_is_read(wire: "Wire") -> None:
    """A message of exactly 4 MiB is answered."""
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "agent.ping"})
    assert "result" in await wire.tell(text + " " * ((4 << 20) - len(text)))


async def test_a_larger_message_closes_the_connection(wire: "Wire") -> None:
    """A message over 4 MiB: close 1009."""
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "agent.ping"})
    await wire.say(text + " " * ((4 << 20) - len(text) + 1))
    assert await wire.closed() == 1009


async def test_a_large_message_in_small_frames(wire: "Wire") -> None:
    """The limit holds for the message, not for each of its frames."""
    await wire.connection.send([" " * 100_000 for _ in range(42)])
    assert await wire.closed() == 1009


async def test_a_binary_frame_closes_the_connection(wire: "Wire") -> None:
    """A binary frame from a client: close 1003."""
    await wire.connection.send(b'{"jsonrpc": "2.0", "id": 1, "method": "agent.ping"}')
    assert await wire.closed() == 1003


async def test_a_message_in_several_frames_is_one_message(wire: "Wire") -> None:
    """A fragmented text message is put together."""
    await wire.connection.send(['{"jsonrpc": "2.0", "id": 1, ', '"method": "agent', '.ping"}'])
    assert "result" in await wire.hear()


async def test_plain_websocket_is_shown_out(shared: "RunningAgent") -> None:
    """Without TLS the connection is closed; the agent's log has one line and no traceback."""
    seen = shared.home.agent_log.stat().st_size
    with socket.create_connection(("127.0.0.1", shared.port), timeout=DEADLINE) as plain:
        plain.sendall(b"GET /rpc HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n")
        said = await asyncio.to_thread(plain.recv, 4096)
        assert not said.startswith(b"HTTP")
    async with asyncio.timeout(DEADLINE):
        while len(shared.home.agent_log.read_bytes()) == seen:  # noqa: ASYNC110  # a file rings no bell
            await asyncio.sleep(0.01)
    text = shared.home.agent_log.read_bytes()[seen:].decode()
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1, text
    assert "TLS" in text
