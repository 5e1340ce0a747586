"""The client's side of a WebSocket over a Unix socket, without the library, which takes longer to import than a call.

It has the methods of `websockets.client.ClientProtocol` that a channel uses. Between two processes of one host there
is no proxy or cache: nothing has to be verified, and the mask, which is to confuse those, is zero.
"""

import base64
import os
from collections.abc import Sequence

CONNECTING, OPEN = 0, 1  # the values of `websockets.protocol.State`
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, MASKED = 0x80, 0x80
NO_MASK = b"\0\0\0\0"
LENGTHS = ((126, 2), (127, 8))  # in place of a length: that it follows in so many bytes
HEAD_END = b"\r\n\r\n"
MAX_HEAD = 65536  # bytes of an HTTP answer, which is a short one
PROTOCOL_ERROR = 1002  # as a close code


class NotUpgraded(Exception):
    """An HTTP answer in place of an upgrade; `status` 0 if it is not HTTP."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.body = body


class Request:
    """What is sent for an upgrade."""

    def __init__(self, subprotocols: Sequence[str]) -> None:
        self.headers = {
            "Host": "localhost",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": ", ".join(subprotocols),
        }


class Frame:
    """One frame of the agent."""

    def __init__(self, opcode: int, data: bytes, *, fin: bool) -> None:
        self.opcode = opcode
        self.data = data
        self.fin = fin


class Close:
    """The close frame of the agent."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class PlainProtocol:
    """Turns bytes from a Unix socket into frames, and what is sent into bytes."""

    def __init__(self, subprotocols: Sequence[str]) -> None:
        self._subprotocols = subprotocols
        # Received and not a whole answer or frame yet.
        self._buffer = bytearray()
        self._frames: list[Frame] = []
        self._out: list[bytes] = []
        self.state = CONNECTING
        self.handshake_exc: Exception | None = None
        self.subprotocol: str | None = None
        self.close_rcvd: Close | None = None

    def connect(self) -> Request:
        return Request(self._subprotocols)

    def send_request(self, request: Request) -> None:
        lines = ["GET /rpc HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
        self._out.append("\r\n".join([*lines, "", ""]).encode())

    def send_text(self, data: bytes) -> None:
        self._send(TEXT, data)

    def send_binary(self, data: bytes) -> None:
        self._send(BINARY, data)

    def send_ping(self, data: bytes) -> None:
        self._send(PING, data)

    def send_close(self, code: int) -> None:
        self._send(CLOSE, code.to_bytes(2, "big"))

    def _send(self, opcode: int, data: bytes) -> None:
        length = len(data)
        if length < 126:
            size = bytes([MASKED | length])
        else:
            mark, width = LENGTHS[length >= 1 << 16]
            size = bytes([MASKED | mark]) + length.to_bytes(width, "big")
        self._out.append(b"".join((bytes([FIN | opcode]), size, NO_MASK, data)))

    def data_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def events_received(self) -> list[Frame]:
        frames, self._frames = self._frames, []
        return frames

    def receive_eof(self) -> None:
        """Take the end of the connection, with which an answer that is no upgrade may be complete."""
        if self.state == CONNECTING and self.handshake_exc is None:
            self._read_answer(ended=True)

    def receive_data(self, data: bytes) -> None:
        self._buffer += data
        if self.state == CONNECTING:
            self._read_answer(ended=False)
        while self.state == OPEN and self.close_rcvd is None and self._read_frame():
            pass

    def _read_answer(self, *, ended: bool) -> None:
        """Read the HTTP answer as soon as it is complete."""
        head, end, body = bytes(self._buffer).partition(HEAD_END)
        if not end and not ended and len(head) < MAX_HEAD:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        status = int(rest[:3]) if version.startswith("HTTP/") and rest[:3].isdecimal() else 0
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if status == 101:
            self.state = OPEN
            self.subprotocol = headers.get("sec-websocket-protocol")
            del self._buffer[: len(head) + len(HEAD_END)]
        elif ended or not status or len(body) >= int(headers.get("content-length", MAX_HEAD)):
            self.handshake_exc = NotUpgraded(status, body)

    def _read_frame(self) -> bool:
        """Take one frame from what was received; return whether it was complete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        length, begin = buffer[1] & 0x7F, 2
        for mark, width in LENGTHS:
            if length == mark:
                begin += width
                if len(buffer) < begin:
                    return False
                length = int.from_bytes(buffer[2:begin], "big")
                break
        if buffer[1] & MASKED or buffer[0] & 0x70:  # an agent masks nothing, and uses no extension
            self.close_rcvd = Close(PROTOCOL_ERROR, "")
            return False
        if len(buffer) < begin + length:
            return False
        data = bytes(buffer[begin : begin + length])
        frame = Frame(buffer[0] & 0x0F, data, fin=bool(buffer[0] & FIN))
        del buffer[: begin + length]
        self._take(frame)
        return True

    def _take(self, frame: Frame) -> None:
        if frame.opcode == PING:
            self._send(PONG, frame.data)
        elif frame.opcode == CLOSE:
            code = int.from_bytes(frame.data[:2], "big") if len(frame.data) >= 2 else 1005
            self.close_rcvd = Close(code, frame.data[2:].decode(errors="replace"))
            self._send(CLOSE, frame.data[:2])
        self._frames.append(frame)
