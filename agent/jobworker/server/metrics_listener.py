"""Serve the metrics without a login, by plain HTTP, on an address of their own."""

import asyncio
import re
import socket
from http import HTTPStatus

from jobworker.errors import StartError
from jobworker.server.metrics import PATH, Metrics

REQUEST_BYTES = 8192  # of a request, with its headers
SECONDS = 10.0  # for a request and its answer: slow readers are cut off
CONNECTIONS = 8  # at once; more are closed


class MetricsListener:
    """Answers one request on each connection."""

    def __init__(self, metrics: Metrics, address: tuple[str, int]) -> None:
        """Bind the address, before anything of the agent runs; raise StartError."""
        host, port = address
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server(address, family=family)
        except OSError as error:
            reason = (error.strerror or str(error)).partition(" (while attempting")[0]
            text = f"metrics.listen: cannot listen on {host} port {port}: {reason}"
            raise StartError(text, hint="set metrics.listen to an address of this host and a free port") from error
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._open = 0  # connections

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._socket, limit=REQUEST_BYTES)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS:
                async with asyncio.timeout(SECONDS):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(await self._answer(request.decode("latin-1")))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()  # of a client that sends no request, too much, or does not read
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, request: str) -> bytes:
        line, _, head = request.partition("\r\n")
        method, _, target = line.partition(" ")
        path = target.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", b"expected GET\n")
        if path != PATH:
            return _response(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", f"expected {PATH}\n".encode())
        accept = re.search(r"^accept:(.*)$", head, re.IGNORECASE | re.MULTILINE)
        content_type, body = await self._metrics.text(accept[1] if accept else "")
        response = _response(HTTPStatus.OK, content_type, body)
        return response[: len(response) - len(body)] if method == "HEAD" else response


def _response(status: HTTPStatus, content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
