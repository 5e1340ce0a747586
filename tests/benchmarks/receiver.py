"""Readers that cost next to nothing: they count the bytes that arrive and never look at them.

Run as ``python receiver.py ADDRESS CA CONNECTIONS BYTES REQUEST [SUBPROTOCOL] < TOKEN``. TLS and the upgrade are done
as by any client; after that the kernel is told to throw away what arrives (MSG_TRUNC), so that nothing is copied
or decrypted, and to wake nobody for less than a quarter of a MiB: one process keeps up with a hundred connections,
and its waking, which a reader on another host has no part in, does not burden the sender. What is counted is TLS
records: half a percent more than the frames in them.

It prints "ready" when it is connected; a line on its stdin has each connection send REQUEST, and when each has
received BYTES it prints the time, on the monotonic clock.
"""

import base64
import os
import select
import socket
import ssl
import struct
import sys
import time
from urllib.parse import urlsplit

AT_ONCE = 1 << 20  # bytes thrown away in one call
ENOUGH = 1 << 18  # bytes to be woken for


def connected(address: str, ca: str, token: str, subprotocol: str) -> ssl.SSLSocket:
    """Return a connection after the upgrade; nothing of what follows has been read."""
    parts = urlsplit(address)
    context = ssl.create_default_context(cafile=ca)
    plain = socket.create_connection((parts.hostname, parts.port))
    sock = context.wrap_socket(plain, server_hostname=parts.hostname)
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {token}",
        *([f"Sec-WebSocket-Protocol: {subprotocol}"] if subprotocol else []),
    ]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += sock.recv(1)
    if not said.startswith(b"HTTP/1.1 101"):
        sys.exit(said.decode())
    return sock


def text_frame(text: bytes) -> bytes:
    """Return a short message as a client sends it, masked with zeros."""
    return struct.pack("!BBH4x", 0x81, 0x80 | 126, len(text)) + text


def main(address: str, ca: str, connections: int, size: int, request: str, subprotocol: str = "") -> None:
    token = sys.stdin.readline().strip()
    socks = [connected(address, ca, token, subprotocol) for _ in range(connections)]
    print("ready", flush=True)
    sys.stdin.readline()
    for sock in socks:
        sock.sendall(text_frame(request.encode()))
    raw = {sock.fileno(): socket.socket(fileno=os.dup(sock.fileno())) for sock in socks}
    left = dict.fromkeys(raw, size)
    poll = select.epoll()
    for fd, plain in raw.items():
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(ENOUGH, size))
        poll.register(fd, select.EPOLLIN)
    nowhere = bytearray(AT_ONCE)
    while left:
        for fd, _ in poll.poll():
            count = raw[fd].recv_into(nowhere, AT_ONCE, socket.MSG_TRUNC)
            if not count:
                sys.exit("a connection was closed")
            left[fd] -= count
            if left[fd] <= 0:
                poll.unregister(fd)
                del left[fd]
            elif left[fd] < ENOUGH:
                raw[fd].setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, left[fd])
    print(time.monotonic(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
