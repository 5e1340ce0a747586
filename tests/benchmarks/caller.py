"""A caller that costs next to nothing: it sends one prepared frame again and again, and counts the answers.

Run as ``python caller.py ADDRESS CA CONNECTIONS IN_FLIGHT CALLS REQUEST < TOKEN``. It prints "ready" when it is
connected. For each line on its stdin it makes CALLS calls over all connections, with IN_FLIGHT under way on each, and
prints how many seconds that took. Between them it answers pings.
"""

import select
import ssl
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.receiver import connected, text_frame

READ_BYTES = 1 << 18
PING, PONG = 0x89, 0x8A  # the first bytes of their frames


class Caller:
    """One connection; only complete frames count as answers."""

    def __init__(self, sock: ssl.SSLSocket, frame: bytes) -> None:
        self._sock = sock
        self._frame = frame
        self._unread = b""

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, count: int) -> None:
        if count:
            self._sock.sendall(self._frame * count)

    def receive(self) -> int:
        """Return how many answers have arrived; it may be none, if that was a ping or a part of one."""
        count = 0
        while True:
            data = self._sock.recv(READ_BYTES)
            if not data:
                sys.exit("a connection was closed")
            self._unread += data
            count += self._parse()
            if not self._sock.pending():
                return count

    def _parse(self) -> int:
        data, at, count = self._unread, 0, 0
        while len(data) - at >= 4:
            size, head = data[at + 1], 2
            if size == 126:
                size, head = data[at + 2] << 8 | data[at + 3], 4
            if len(data) - at < head + size:
                break
            body = data[at + head : at + head + size]
            if b'"error"' in body:
                sys.exit(body.decode(errors="replace"))
            if data[at] == PING:
                self._sock.sendall(bytes([PONG, 0x80 | size]) + b"\0\0\0\0" + body)
            else:
                count += 1
            at += head + size
        self._unread = data[at:]
        return count


def call(callers: list[Caller], in_flight: int, calls: int) -> None:
    """Make `calls` calls; a connection sends the next as soon as it has an answer."""
    left = calls
    poll = select.epoll()
    by_fd = {caller.fileno(): caller for caller in callers}
    if len(callers) > 1:
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
    for caller in callers:
        caller.send(in_flight)
    unsent = calls - in_flight * len(callers)
    while left:
        ready = [by_fd[fd] for fd, _ in poll.poll()] if len(callers) > 1 else callers
        for caller in ready:
            count = caller.receive()
            left -= count
            more = min(count, unsent)
            unsent -= more
            caller.send(more)


def asked(callers: list[Caller]) -> bool:
    """Wait for a line on stdin, and answer pings meanwhile; return whether there was one."""
    poll = select.epoll()
    by_fd = {caller.fileno(): caller for caller in callers}
    for fd in (0, *by_fd):
        poll.register(fd, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == 0:
                return bool(sys.stdin.readline())
            by_fd[fd].receive()


def main(address: str, ca: str, connections: str, in_flight: str, calls: str, request: str) -> None:
    token = sys.stdin.readline().strip()
    frame = text_frame(request.encode().ljust(126))
    callers = [Caller(connected(address, ca, token, ""), frame) for _ in range(int(connections))]
    print("ready", flush=True)
    while asked(callers):
        began = time.monotonic()
        call(callers, int(in_flight), int(calls))
        print(time.monotonic() - began, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
