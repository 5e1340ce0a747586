"""Clients that are gone without a word are found by pings, which one timer sends to all connections."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.hostile.raw import CLOSE, PING, PONG, UPGRADE, Raw, frame
from websockets.asyncio.server import ServerConnection, serve

from jobworker.server.connection import Connection
from jobworker.server.keepalive import Keepalive


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server whose connections have a second for each pong."""
    keepalive = Keepalive(1, 0.01)

    async def hold(connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        keepalive.watch(connection)
        await connection.wait_closed()
        keepalive.forget(connection)

    async with serve(hold, "127.0.0.1", 0, create_connection=Connection, ping_interval=None) as server:
        yield next(iter(server.sockets)).getsockname()[1]
    keepalive.close()


async def connected(port: int) -> Raw:
    raw = Raw(*await asyncio.open_connection("127.0.0.1", port))
    lines = ["GET / HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in UPGRADE)]
    await raw.say("\r\n".join([*lines, "", ""]).encode())
    assert await raw.status() == 101
    return raw


async def test_a_client_that_answers_stays(port: int) -> None:
    """It gets ping after ping, also beside one that does not answer."""
    raw, silent = await connected(port), await connected(port)
    for _ in range(3):
        heard = await raw.hear()
        assert heard is not None
        assert heard[0] == PING
        await raw.say(frame(PONG, heard[1]))
    assert await silent.closed() == 1011
    raw.drop()


@pytest.mark.parametrize("pong", [b"", b"else"])
async def test_another_pong_is_no_answer(port: int, pong: bytes) -> None:
    """A pong that no ping asked for does not count."""
    raw = await connected(port)
    heard = await raw.hear()
    assert heard is not None
    assert heard[0] == PING
    await raw.say(frame(PONG, pong))
    assert await raw.hear() == (CLOSE, b"\x03\xf3keepalive ping timeout")
    raw.drop()


async def test_a_connection_that_is_gone_is_forgotten(port: int) -> None:
    """Others are pinged as before."""
    gone, raw = await connected(port), await connected(port)
    gone.drop()
    for _ in range(3):
        heard = await raw.hear()
        assert heard is not None
        assert heard[0] == PING
        await raw.say(frame(PONG, heard[1]))
    raw.drop()
