"""Wait for the agent, for the reader of our output and for signals at once, in one thread and without asyncio."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable

from jobworker.client.blocking.connection import Connection
from jobworker_cli.output import write

BUSY_SECONDS = 5.0  # of a wait for the reader of our output, after which pings of the agent are answered meanwhile


class Waits:
    """Replaces the waits of a connection and of our output. While one of them lasts, signals are acted on."""

    def __init__(self, connection: Connection, act: Callable[[], None] = lambda: None) -> None:
        """`act` is called in each wait after a signal: it may send."""
        self._connection = connection
        self._act = act
        self._main = threading.get_ident()
        self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        # Our connection, as long as it is waited for.
        self._socket: int | None = None
        connection.wait = self.for_agent
        for file in write.files():
            file.wait_by(self.for_reader)

    def for_agent(self, descriptor: int, seconds: float) -> bool:
        """Return whether the agent has sent something, or a signal came, within this time."""
        self._socket = descriptor
        return bool(self._poll({descriptor: select.POLLIN}, seconds))

    def for_reader(self, descriptor: int) -> None:
        """Return when our output can be written to."""
        if threading.get_ident() != self._main:  # a note that must not block the others
            write.wait_writable(descriptor)
            return
        busy_at = time.monotonic() + BUSY_SECONDS
        while True:
            wanted = {descriptor: select.POLLOUT}
            left = busy_at - time.monotonic()
            if left <= 0 and self._socket is not None and not self._connection.lost:
                wanted[self._socket] = select.POLLIN
            ready = self._poll(wanted, max(left, 0.0) or BUSY_SECONDS)
            if descriptor in ready:
                return
            if self._socket in ready:
                self._connection.take_ready()

    def _poll(self, wanted: dict[int, int], seconds: float) -> list[int]:
        """Return which of these descriptors are ready, and ours if a signal came; act on that."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for descriptor, events in wanted.items():
            poll.register(descriptor, events)
        ready = [descriptor for descriptor, _ in poll.poll(seconds * 1000)]
        if self._wake in ready:
            os.read(self._wake, 4096)
        self._act()
        return ready
