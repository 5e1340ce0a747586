"""Accept connections, and bound those that have not sent their request yet: before TLS, during it, and after it.

It stands for the `asyncio.Server` of a `websockets` server: that would accept as many as there are descriptors, and
shows a connection only once TLS is established.
"""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from typing import Any

from jobworker.auth.peers import uid_of
from jobworker.auth.throttle import network_of
from jobworker.linux import descriptors
from jobworker.server.connection import Connection

log = logging.getLogger(__name__)

MAX_PENDING, MIN_PENDING = 512, 8  # connections without a request, of all sockets
ACCEPTED_AT_ONCE = 32  # in one turn of the loop
RETRY_SECONDS = 0.1  # until a socket that could not accept is tried again


class Accepted:
    """A connection that has not sent its request."""

    __slots__ = ("network", "sock")

    def __init__(self, sock: socket.socket, network: str) -> None:
        self.sock = sock
        self.network = network


class Pending:
    """All connections that have not sent their request.

    If they become too many, the oldest of the address with the most is cut: that is silent or slow, while the request
    of a client that has just connected comes within milliseconds.
    """

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limit = max(MIN_PENDING, min(MAX_PENDING, (soft - 2 * descriptors.RESERVED) // 4))
        # By network; a dict of each for its order, the oldest first.
        self._by_network: dict[str, dict[Accepted, None]] = {}
        self._count = 0

    def admit(self, accepted: Accepted) -> bool:
        """Count a connection, and cut another if there are too many; return False if it gets no descriptor."""
        scarce = descriptors.left() < descriptors.RESERVED // 2
        if (scarce or self._count >= self._limit) and not self._cut_one() and scarce:
            return False
        self._by_network.setdefault(accepted.network, {})[accepted] = None
        self._count += 1
        return True

    def discard(self, accepted: Accepted) -> None:
        """Count a connection no more; one that was cut is no error."""
        theirs = self._by_network.get(accepted.network, {})
        if accepted in theirs:
            del theirs[accepted]
            self._count -= 1
            if not theirs:
                del self._by_network[accepted.network]

    def _cut_one(self) -> bool:
        if not self._by_network:
            return False
        network = max(self._by_network, key=lambda name: len(self._by_network[name]))
        oldest = next(iter(self._by_network[network]))
        self.discard(oldest)
        try:
            oldest.sock.shutdown(socket.SHUT_RDWR)  # its transport, if it has one by now, then closes it
        except OSError:  # the client has closed it
            pass
        return True


class Acceptor:
    """Accepts connections on one socket until it is closed."""

    def __init__(
        self, sock: socket.socket, make: Callable[[], Connection], pending: Pending, tls: dict[str, Any]
    ) -> None:
        """`make` makes a connection; `tls` has the options of the loop for TLS, none for plain connections."""
        self.sockets = (sock,)
        self._sock = sock
        self._make = make
        self._pending = pending
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._serving = False
        # Connections that are being opened.
        self._opening: set[asyncio.Task[None]] = set()

    async def open(self) -> "Acceptor":
        self._sock.setblocking(False)
        self._serving = True
        self._listen()
        return self

    def is_serving(self) -> bool:
        return self._serving

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def close(self) -> None:
        """Accept no more, and drop the connections that are being opened."""
        if not self._serving:
            return
        self._serving = False
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for task in self._opening:
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _listen(self) -> None:
        if self._serving:
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor, no memory
                log.warning("no connection can be accepted for %g s: %s", RETRY_SECONDS, error)
                self._loop.remove_reader(self._sock)
                self._loop.call_later(RETRY_SECONDS, self._listen)
                return
            accepted = Accepted(sock, _network(sock, address))
            if self._pending.admit(accepted):
                sock.setblocking(False)
                task = self._loop.create_task(self._begin(accepted))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
            else:
                sock.close()

    async def _begin(self, accepted: Accepted) -> None:
        """Have the loop open a connection, and count it as pending until its request has come."""
        try:
            connection = self._make()  # uvloop returns the protocol of TLS instead
            await self._loop.connect_accepted_socket(lambda: connection, accepted.sock, **self._tls)
        except BaseException as error:
            self._pending.discard(accepted)
            accepted.sock.close()
            if not isinstance(error, OSError):  # TLS that failed is one: strangers write nothing to the log
                raise
        else:
            connection.when_requested(lambda: self._pending.discard(accepted))


def _network(sock: socket.socket, address: Any) -> str:
    if sock.family == socket.AF_UNIX:
        return f"unix:{uid_of(sock)}"
    return network_of(f"[{address[0]}]:{address[1]}")
