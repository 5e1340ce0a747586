"""One WebSocket over one socket, read and written by the calling thread: TLS to a port, or a Unix socket.

TLS and the library for WebSockets, which take longer to import than a call takes, are imported for a port only.
"""

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobworker.client import handshake, trace
from jobworker.client.blocking.plain_protocol import BINARY, CONNECTING, CONT, TEXT, NotUpgraded, PlainProtocol
from jobworker.client.endpoint import Endpoint
from jobworker.protocol import BINARY_SUBPROTOCOL

if TYPE_CHECKING:
    import ssl

READ_BYTES = 65536  # at once, from the socket
SEND_SECONDS = 20.0  # a send that takes longer has met an agent that does not read
CLOSE_SECONDS = 2.0  # for the agent to answer a close frame
PING_SECONDS = 20.0  # without a frame after which the agent is asked whether it is there, and again for its answer


class ChannelLost(Exception):
    """The connection has ended; `close_code` and `close_reason` of the channel have why, if the agent sent them."""


class Channel:
    """Sends and receives whole messages. `receive` and `send` raise ChannelLost."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connect; raise JobworkerError with the reason if that fails."""
        address = handshake.usable_address(endpoint)
        # Messages received and not taken yet: text, or the bytes of a binary frame.
        self._messages: deque[str | bytes] = deque()
        # The parts so far of a message that comes in several frames, after the frame that began it.
        self._opening: Any = None
        self._parts: list[bytes] = []
        # Whether a ping was sent since the agent last sent anything.
        self._pinged = False
        # Why the socket could no longer be read; None at an orderly end.
        self._failure: OSError | None = None
        self.lost = False
        # Called in place of a wait for the socket, with its descriptor and a number of seconds: returns False when
        # these are over. It may send.
        self.wait: Callable[[int, float], bool] | None = None
        # What a read raises if there is nothing to read.
        self._nothing: tuple[type[BaseException], ...] = (TimeoutError, BlockingIOError)
        # A ClientProtocol of websockets, or what stands in for it.
        self._protocol: Any
        # What may be raised if no connection comes about.
        self._failures: tuple[type[Exception], ...] = (OSError, ChannelLost, NotUpgraded)
        try:
            deadline = time.monotonic() + handshake.OPEN_SECONDS
            path = handshake.unix_path(address)
            self._sock = self._to_unix(path) if path else self._to_port(address, endpoint)
            try:
                self._upgrade(endpoint, deadline)
            except BaseException:
                self._sock.close()
                raise
        except Exception as error:
            if not isinstance(error, self._failures):
                raise
            raise handshake.describe_failure(endpoint, error) from None

    def _to_unix(self, path: str) -> socket.socket:
        self._protocol = PlainProtocol(handshake.SUBPROTOCOLS)
        return _connect_unix(path)

    def _to_port(self, address: str, endpoint: Endpoint) -> socket.socket:
        import ssl

        from websockets.client import ClientProtocol
        from websockets.exceptions import WebSocketException
        from websockets.typing import Subprotocol
        from websockets.uri import parse_uri

        self._nothing += (ssl.SSLWantReadError,)
        self._failures += (WebSocketException,)
        uri = parse_uri(address)
        names = [Subprotocol(name) for name in handshake.SUBPROTOCOLS]
        self._protocol = ClientProtocol(uri, subprotocols=names, max_size=None)
        return self._connect(uri.host, uri.port, endpoint)

    @staticmethod
    def _connect(host: str, port: int, endpoint: Endpoint) -> "ssl.SSLSocket":
        from jobworker.client.trust import open_tls

        deadline = time.monotonic() + handshake.OPEN_SECONDS
        sock = socket.create_connection((host, port), handshake.OPEN_SECONDS)
        try:
            sock.settimeout(max(deadline - time.monotonic(), 0.1))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return open_tls(sock, host, endpoint)
        except BaseException:
            sock.close()
            raise

    def _upgrade(self, endpoint: Endpoint, deadline: float) -> None:
        request = self._protocol.connect()
        request.headers.update(handshake.headers(endpoint))
        self._protocol.send_request(request)
        self._flush()
        while self._protocol.state == CONNECTING and self._protocol.handshake_exc is None:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise TimeoutError(f"no answer to the upgrade within {handshake.OPEN_SECONDS:g} s")
        if self._protocol.handshake_exc is not None:
            raise self._failure or self._protocol.handshake_exc

    @property
    def close_code(self) -> int | None:
        """The code with which the agent has closed the connection; None if it sent none."""
        close = self._protocol.close_rcvd
        return None if close is None else int(close.code)

    @property
    def close_reason(self) -> str:
        close = self._protocol.close_rcvd
        return "" if close is None else str(close.reason)

    @property
    def binary(self) -> bool:
        """Whether the agent takes binary frames."""
        return bool(self._protocol.subprotocol == BINARY_SUBPROTOCOL)

    def send(self, message: bytes, *, text: bool = True) -> None:
        """Send a message, in a binary frame if it is not text."""
        if self.lost:
            raise ChannelLost
        if trace.report is not None:
            trace.report("sent", message.decode(errors="replace") if text else message)
        if text:
            self._protocol.send_text(message)
        else:
            self._protocol.send_binary(message)
        self._flush()

    def receive(self, seconds: float | None) -> str | bytes | None:
        """Return the next message, None if none comes in time. None for no limit; 0 does not wait.

        An agent that sends nothing for long is asked by a ping whether it is there.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while not self._messages:
            if self.lost:
                raise ChannelLost
            left = PING_SECONDS if until is None else max(until - time.monotonic(), 0.0)
            if self._read(min(left, PING_SECONDS)):
                continue
            if left < PING_SECONDS:
                return None
            self._ping()
        return self._messages.popleft()

    def _ping(self) -> None:
        """Ask the agent for a sign of life; raise ChannelLost if it has not answered the last ping."""
        if self._pinged:
            self.abort()
            raise ChannelLost
        self._pinged = True
        self._protocol.send_ping(b"")
        self._flush()

    def close(self) -> None:
        """Close the connection and wait briefly for the agent to do so, too."""
        deadline = time.monotonic() + CLOSE_SECONDS
        try:
            if not self.lost:
                self._protocol.send_close(1000)
                self._flush()
            while not self.lost and (left := deadline - time.monotonic()) > 0:
                self._read(left)
        except ChannelLost:
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        self.lost = True
        self._sock.close()

    def _read(self, seconds: float) -> bool:
        """Read from the socket once and handle what it gives; return False if nothing comes in time."""
        if self.wait is not None and seconds > 0:
            return self._read(0.0) or self.wait(self._sock.fileno(), seconds)
        try:
            self._sock.settimeout(seconds)
            data = self._sock.recv(READ_BYTES)
        except self._nothing:
            return False
        except OSError as error:
            self._failure, data = error, b""
        if data:
            self._pinged = False
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if hasattr(event, "opcode"):  # no answer to the upgrade
                self._take(event)
        self._flush()
        if not data or self._protocol.close_rcvd is not None:
            self.abort()
        return True

    def _take(self, frame: Any) -> None:
        """Keep a frame of data; the message is complete with its last frame."""
        if frame.opcode in (TEXT, BINARY):
            self._opening, self._parts = frame, [bytes(frame.data)]
        elif frame.opcode == CONT:
            self._parts.append(bytes(frame.data))
        else:
            return  # the protocol itself answers pings and close frames
        if frame.fin and self._opening is not None:
            data = b"".join(self._parts)
            message = data.decode(errors="replace") if self._opening.opcode == TEXT else data
            self._messages.append(message)
            if trace.report is not None:
                trace.report("received", message)
            self._opening, self._parts = None, []

    def _flush(self) -> None:
        """Send what the protocol has to send; a send that is interrupted half-way ends the connection."""
        chunks = [data for data in self._protocol.data_to_send() if data]
        if not chunks:
            return
        try:
            self._sock.settimeout(SEND_SECONDS)
            self._sock.sendall(b"".join(chunks))
        except BaseException as error:
            with contextlib.suppress(OSError):
                self._drain()
            self.abort()
            if isinstance(error, OSError):
                raise ChannelLost from error
            raise

    def _drain(self) -> None:
        """Read what the agent sent before it stopped reading: its close code."""
        self._sock.settimeout(0.0)
        while data := self._sock.recv(READ_BYTES):
            self._protocol.receive_data(data)


def _connect_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(handshake.OPEN_SECONDS)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock
