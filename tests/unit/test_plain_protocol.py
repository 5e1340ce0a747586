"""The WebSocket of a Unix socket against the server of the library: lengths, fragments, pings, ends, refusals."""

from typing import Any

import pytest
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from jobworker.client.blocking.plain_protocol import CONNECTING, OPEN, PING, NotUpgraded, PlainProtocol

NAMES = ["jobworker.v1.binary", "jobworker.v1"]
LENGTHS = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20]


def sent(side: Any) -> bytes:
    return b"".join(side.data_to_send())


def upgraded(*chosen: str) -> tuple[PlainProtocol, ServerProtocol]:
    """Return both sides of a connection, after the upgrade with a server that knows these subprotocols."""
    client, server = (
        PlainProtocol(NAMES),
        ServerProtocol(subprotocols=[*map(Subprotocol, chosen)] or None, max_size=None),
    )
    request = client.connect()
    request.headers["Authorization"] = "Bearer x"
    client.send_request(request)
    server.receive_data(sent(client))
    (asked,) = server.events_received()
    assert isinstance(asked, Request)
    assert (asked.path, asked.headers["Authorization"]) == ("/rpc", "Bearer x")
    server.send_response(server.accept(asked))
    assert server.state is State.OPEN
    return client, server


@pytest.mark.parametrize("chosen", [[], ["jobworker.v1"], ["jobworker.v1", "jobworker.v1.binary"]])
def test_the_upgrade(chosen: list[str]) -> None:
    """Byte by byte; a frame may follow at once."""
    client, server = upgraded(*chosen)
    server.send_text(b"early")
    for byte in sent(server):
        client.receive_data(bytes([byte]))
    assert (client.state, client.handshake_exc) == (OPEN, None)
    assert client.subprotocol == (server.subprotocol if chosen else None)
    assert [frame.data for frame in client.events_received()] == [b"early"]


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 21])
def test_messages_of_every_length(size: int) -> None:
    """In both directions, whatever a read returns."""
    client, server = upgraded()
    client.receive_data(sent(server))
    lengths = [length for length in LENGTHS if length < size * 100_000]
    for length in lengths:
        server.send_binary(bytes(length))
        client.send_binary(b"x" * length)
        client.send_text(b"y" * length)
    data = sent(server)
    for begin in range(0, len(data), size):
        client.receive_data(data[begin : begin + size])
    assert [len(frame.data) for frame in client.events_received()] == lengths
    server.receive_data(sent(client))
    frames: Any = server.events_received()
    expected = [pair for length in lengths for pair in ((Opcode.BINARY, b"x" * length), (Opcode.TEXT, b"y" * length))]
    assert [(frame.opcode, bytes(frame.data)) for frame in frames] == expected


def test_fragments_pings_and_the_end() -> None:
    client, server = upgraded()
    client.receive_data(sent(server))
    server.send_text(b"a", fin=False)
    server.send_ping(b"there?")
    server.send_continuation(b"b", fin=True)
    client.send_ping(b"")
    client.receive_data(sent(server))
    assert [(frame.opcode, frame.data, frame.fin) for frame in client.events_received()] == [
        (1, b"a", False),
        (PING, b"there?", True),
        (0, b"b", True),
    ]
    server.receive_data(sent(client))
    frames: Any = server.events_received()
    assert [(frame.opcode, bytes(frame.data)) for frame in frames] == [
        (Opcode.PING, b""),
        (Opcode.PONG, b"there?"),
    ]
    server.send_close(1008, "nein, danke")
    client.receive_data(sent(server))
    assert client.close_rcvd is not None
    assert (client.close_rcvd.code, client.close_rcvd.reason) == (1008, "nein, danke")
    server.receive_data(sent(client))
    assert server.close_rcvd is not None, "it is answered"


def test_the_end_from_our_side() -> None:
    client, server = upgraded()
    client.receive_data(sent(server))
    client.send_close(1000)
    server.receive_data(sent(client))
    client.receive_data(sent(server))
    assert client.close_rcvd is not None
    assert client.close_rcvd.code == 1000


REFUSALS = {
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwho?": (401, b"who?"),
    b"HTTP/1.1 503 Busy\r\n\r\nlater": (503, b"later"),
    b"SSH-2.0-OpenSSH_9.9\r\n": (0, b""),
    b"": (0, b""),
    b"HTTP/1.1 ...\r\n\r\n": (0, b""),
}


@pytest.mark.parametrize("answer", REFUSALS)
def test_an_answer_that_is_no_upgrade(answer: bytes) -> None:
    """Complete by its length, or by the end of the connection."""
    client = PlainProtocol(NAMES)
    for byte in answer:
        assert client.state == CONNECTING
        client.receive_data(bytes([byte]))
    assert (client.handshake_exc is None) == (b"Content-Length" not in answer and b"..." not in answer)
    client.receive_eof()
    assert isinstance(client.handshake_exc, NotUpgraded)
    assert (client.handshake_exc.status, client.handshake_exc.body) == REFUSALS[answer]


@pytest.mark.parametrize("frame", [b"\x81\x80\0\0\0\0", b"\xc1\x00"])
def test_a_frame_that_no_agent_sends(frame: bytes) -> None:
    """Masked, or of an extension: the connection is over."""
    client, server = upgraded()
    client.receive_data(sent(server) + frame + b"\x81\x00")
    assert client.close_rcvd is not None
    assert (client.close_rcvd.code, client.events_received()) == (1002, [])
