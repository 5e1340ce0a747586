"""The PROXY protocol: a header before the TLS names the client, if it comes from a configured address."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from jobworker.tls.proxied import LOCAL, V2, read_header

if TYPE_CHECKING:
    from jobworker.testing import RunningAgent

PROXY = "127.0.0.2"  # an address of this host, as 127.0.0.1 is
ONE, OTHER = "192.0.2.1", "192.0.2.2"
TLS = b"\x16\x03\x01"  # the first bytes of a handshake


def v1(client: str) -> bytes:
    return f"PROXY TCP4 {client} 198.51.100.1 4711 443\r\n".encode()


def v2(client: str) -> bytes:
    addresses = socket.inet_aton(client) + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 4711, 443)
    more = b"\x04\x00\x01\x00"  # a TLV that means nothing
    return V2 + struct.pack("!BBH", 0x21, 0x11, len(addresses) + len(more)) + addresses + more


def guess(agent: "RunningAgent", *pieces: bytes, source: str = PROXY) -> int:
    """Send pieces before the TLS, then guess a token; return the status of the answer, 0 if there is none."""
    context = ssl.create_default_context(cafile=agent.ca)
    request = (
        f"GET /rpc HTTP/1.1\r\nHost: 127.0.0.1:{agent.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        "Authorization: Bearer jw1_x\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", agent.port), 30, (source, 0)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            sock.sendall(piece)
        try:
            with context.wrap_socket(sock, server_hostname="127.0.0.1") as tls:
                tls.sendall(request.encode())
                return int(tls.recv(4096).split()[1])
        except (OSError, IndexError):
            return 0


async def guesses(agent: "RunningAgent", *headers: bytes, source: str = PROXY) -> list[int]:
    return [await asyncio.to_thread(guess, agent, header, source=source) for header in headers]


async def test_clients_behind_a_proxy(start_agent: "Callable[..., RunningAgent]") -> None:
    """Each has its own limit of failed logins and is in the audit log; a header may come in pieces."""
    agent = start_agent(config=f'[server]\nproxy_protocol = ["{PROXY}"]\n[limits]\nfailed_logins = 2\n')
    assert await guesses(agent, v1(ONE), v2(ONE), v1(ONE), v2(OTHER)) == [401, 401, 429, 401]
    whole = v2(OTHER)
    assert await asyncio.to_thread(guess, agent, *(whole[n : n + 1] for n in range(len(whole)))) == 401
    assert await guesses(agent, b"PROXY nonsense\r\n", b"PROXY TCP4 x y 1 2\r\n", b"PROXY " + b"x" * 200) == [0, 0, 0]
    assert await guesses(agent, b"") == [403]
    lines = [json.loads(line) for line in agent.home.audit.read_text().splitlines()]
    assert [line["address"] for line in lines if "token" in line["reason"] or "known" in line["reason"]] == [
        f"{ONE}:0",
        f"{ONE}:0",
        f"{OTHER}:0",
        f"{OTHER}:0",
    ]
    assert any("PROXY header is missing" in line["reason"] for line in lines)


async def test_a_client_that_is_no_proxy(start_agent: "Callable[..., RunningAgent]") -> None:
    """It cannot name another client; without the header it is served, and headers are not read by default."""
    agent = start_agent(config='[server]\nproxy_protocol = ["10.0.0.0/8"]\n')
    assert await guesses(agent, v1(ONE), v2(ONE), b"") == [403, 403, 401]
    assert await guesses(start_agent(), v1(ONE), v2(ONE), b"") == [0, 0, 401]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", None),
        (TLS, (0, None)),
        (b"P", None),
        (b"PROXY TCP4", None),
        (v1(ONE) + TLS, (len(v1(ONE)), ONE)),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", (32, "2001:db8::1")),
        (b"PROXY UNKNOWN ff::1 whatever\r\n" + TLS, (30, LOCAL)),
        (V2[:5], None),
        (V2 + b"\x21", None),
        (v2(ONE)[:-1], None),
        (v2(ONE) + TLS, (len(v2(ONE)), ONE)),
        (V2 + b"\x20\0\0\0" + TLS, (16, LOCAL)),
    ],
)
def test_headers(data: bytes, found: tuple[int, str | None] | None) -> None:
    assert read_header(data) == found


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 a b 1 2\r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY \xff\r\n",
        b"PROXY " + b"1" * 120,
        V2 + b"\x31\x11\0\x0c" + b"\0" * 12,
        V2 + b"\x21\x11\xff\xff",
        V2 + b"\x21\x11\0\x02" + b"\0" * 12,
    ],
)
def test_malformed_headers(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever its text
        read_header(data)
