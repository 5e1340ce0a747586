"""A client that is nobody's library: frames as they come, and a connection that can be torn at any byte."""

import asyncio
import itertools
import json
import socket
import ssl
import struct
from collections import deque
from typing import Any

from tests.conftest import RunningAgent
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from jobworker.protocol import decode_data, split_binary

READ = 65536


class Torn(Exception):
    """The connection is gone, by our doing or not."""


class Raw:
    """One connection; `left` is how many more bytes are taken from the socket before it is torn."""

    def __init__(self, agent: RunningAgent, subprotocol: str, left: int | None = None) -> None:
        self._agent = agent
        uri = parse_uri(agent.address)
        self._protocol = ClientProtocol(uri, subprotocols=[Subprotocol(subprotocol)], max_size=None)
        self._frames: deque[Any] = deque()
        self._ids = itertools.count(1)
        self.left = left
        self.torn = False

    async def open(self) -> None:
        """Connect; raise Torn."""
        context = ssl.create_default_context(cafile=self._agent.ca)
        try:
            self._reader, self._writer = await asyncio.open_connection("localhost", self._agent.port, ssl=context)
        except (OSError, EOFError) as error:
            raise Torn from error
        request = self._protocol.connect()
        request.headers["Authorization"] = f"Bearer {self._agent.token}"
        self._protocol.send_request(request)
        await self._flush()
        response = await self._frame()
        assert isinstance(response, Response), response
        assert response.status_code == 101, response

    async def ask(self, method: str, **params: Any) -> int:
        """Send a request; return its id."""
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self._protocol.send_text(json.dumps(request).encode())
        await self._flush()
        return number

    async def hear(self) -> dict[str, Any]:
        """Return the next message, `bytes` of a log.data being what it holds; raise Torn."""
        while True:
            frame = await self._frame()
            assert isinstance(frame, Frame), frame
            if frame.opcode is Opcode.TEXT:
                message: dict[str, Any] = json.loads(bytes(frame.data))
                if message.get("method") == "log.data":
                    params = message["params"]
                    params["bytes"] = decode_data(params["data"], params["encoding"])
                return message
            if frame.opcode is Opcode.BINARY:
                header, data = split_binary(bytes(frame.data))
                return {"method": "log.data", "params": json.loads(header) | {"bytes": data}}
            await self._flush()  # a ping is answered

    async def _frame(self) -> Any:
        while not self._frames:
            if self.left == 0:
                self.tear()
            try:
                data = await self._reader.read(READ if self.left is None else min(READ, self.left))
            except (OSError, EOFError) as error:
                raise Torn from error
            if not data:
                raise Torn
            if self.left is not None:
                self.left -= len(data)
            self._protocol.receive_data(data)
            self._frames.extend(self._protocol.events_received())
        return self._frames.popleft()

    async def _flush(self) -> None:
        try:
            self._writer.writelines(self._protocol.data_to_send())
            await self._writer.drain()
        except OSError as error:
            raise Torn from error

    def tear(self) -> None:
        """Reset the connection, half a frame in our hands or not; raise Torn."""
        reset(self._writer.transport)
        self.torn = True
        raise Torn

    def close(self) -> None:
        if hasattr(self, "_writer"):
            self._writer.transport.abort()


def reset(transport: asyncio.BaseTransport) -> None:
    """End a TCP connection at once: what is under way is thrown away, the other end gets an RST."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert isinstance(transport, asyncio.WriteTransport)
    transport.abort()
