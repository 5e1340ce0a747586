"""What strangers do fills no log: nothing, or one bounded line, and never a traceback."""

import socket
import ssl
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

CONNECTIONS = 100
MAX_BYTES = 8000  # of the log, for all of them: some lines at once, then one a second


def open_tls(agent: "RunningAgent") -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", agent.port), timeout=DEADLINE))


def reset(sock: socket.socket) -> None:
    """Close with a reset, whatever is still to be read."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


REQUESTS = {
    "healthz": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no HTTP": b"\x00\x01\x02\x03 nonsense\r\n\r\n",
    "post": b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
    "no upgrade": b"GET /rpc HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "endless header": b"GET /rpc HTTP/1.1\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
    "half": b"GET /rpc HT",
    "nothing": b"",
}
ENDS: dict[str, Callable[[socket.socket], None]] = {"close": socket.socket.close, "reset": reset}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("request_", REQUESTS)
async def test_a_stranger(agent: "RunningAgent", request_: str, end: str) -> None:
    before = len(agent.home.agent_log.read_text())
    for _ in range(CONNECTIONS):
        sock = open_tls(agent)
        sock.sendall(REQUESTS[request_])
        ENDS[end](sock)
    async with agent.client() as client:  # by then the agent has seen the others
        await client.call("agent.ping")
    written = agent.home.agent_log.read_text()[before:]
    assert "Traceback" not in written
    assert len(written) < MAX_BYTES, written[:2000]
