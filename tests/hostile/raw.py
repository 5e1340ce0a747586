"""A connection that says exactly what it is given: TCP, TLS, HTTP and frames that no library would send."""

import asyncio
import itertools
import json
import os
import ssl
import struct
from collections.abc import Sequence
from typing import Any

from tests.conftest import RunningAgent

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LIMIT = 30.0  # seconds until an answer counts as missing
UPGRADE = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
)
_hosts = itertools.count(2)


def address() -> tuple[str, int]:
    """Return a loopback address from which nobody has come yet, so that no limit for each address is met."""
    number = next(_hosts)
    return f"127.{1 + number // 62500 % 250}.{number // 250 % 250}.{number % 250 + 2}", 0


def frame(opcode: int, data: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    head = bytes([fin << 7 | rsv << 4 | opcode])
    size = len(data)
    bit = masked << 7
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    return head + (b"\0\0\0\0" + data if masked else data)  # masked with zeros: the data as it is


class Raw:
    """One connection. What is heard after the end of it is None."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, agent: RunningAgent, *, tls: bool = True, source: tuple[str, int] | None = None) -> "Raw":
        context = ssl.create_default_context(cafile=agent.ca) if tls else None
        return cls(
            *await asyncio.open_connection(
                "127.0.0.1",
                agent.port,
                ssl=context,
                server_hostname="127.0.0.1" if tls else None,
                local_addr=source or address(),
            )
        )

    @classmethod
    async def upgraded(cls, agent: RunningAgent, token: str | None = None) -> "Raw":
        raw = await cls.open(agent)
        headers = [("Authorization", f"Bearer {token}")] if token else []
        status = await raw.upgrade(agent, headers)
        assert status == 101, status
        return raw

    async def say(self, data: bytes) -> None:
        """Send; that the other side is gone is told when listening."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            pass

    async def upgrade(
        self,
        agent: RunningAgent,
        headers: Sequence[tuple[str, str]] = (),
        *,
        host: str | None = None,
        line: str = "GET /rpc HTTP/1.1",
        own: Sequence[tuple[str, str]] = UPGRADE,
    ) -> int:
        """Return the status of the answer, 0 where there is none."""
        given = [("Host", host if host is not None else f"127.0.0.1:{agent.port}"), *own, *headers]
        text = "\r\n".join([line, *(f"{name}: {value}" for name, value in given), "", ""])
        await self.say(text.encode("latin-1", errors="replace"))
        return await self.status()

    async def status(self) -> int:
        """Return the status of an HTTP answer, 0 where the connection ends without one."""
        try:
            async with asyncio.timeout(LIMIT):
                head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            return 0
        return int(head.split()[1])

    async def hear(self) -> tuple[int, bytes] | None:
        """Return the next frame; None at the end of the connection."""
        try:
            async with asyncio.timeout(LIMIT):
                first, second = await self.reader.readexactly(2)
                size = second & 127
                if size > 125:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
                return first & 15, await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def answer(self) -> Any:
        """Return the next message that is no notification, or the code with which the connection is closed."""
        while (heard := await self.hear()) is not None:
            opcode, data = heard
            if opcode == CLOSE:
                return int.from_bytes(data[:2])
            if opcode == TEXT:
                message = json.loads(data)
                if not (isinstance(message, dict) and "method" in message):
                    return message
        return 0

    async def closed(self) -> int:
        """Return the code with which the connection is closed, 0 where there is none."""
        while not isinstance(answer := await self.answer(), int):
            pass
        self.drop()
        return answer

    async def end(self) -> None:
        """Return when the other side has closed the connection."""
        try:
            async with asyncio.timeout(LIMIT):
                while await self.reader.read(65536):
                    pass
        except OSError:
            pass
        self.drop()

    async def text(self, text: str | bytes) -> Any:
        """Send a text and return what comes of it."""
        await self.say(frame(TEXT, text.encode() if isinstance(text, str) else text))
        return await self.answer()

    def drop(self) -> None:
        self.writer.transport.abort()


def junk(size: int) -> bytes:
    return os.urandom(size)
