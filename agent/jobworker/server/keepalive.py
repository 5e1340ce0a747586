"""Find connections whose client is gone without a word: one timer pings all of them."""

import asyncio

from jobworker.server.connection import Connection
from jobworker.tasks import Background

INTERVAL_SECONDS = 20.0  # between two pings of a connection, and for the pong
MIN_SLEEP_SECONDS = 1.0  # pings that are due within this time are sent together
PINGS_A_TURN = 50  # of the event loop


class Keepalive:
    """Pings each connection that it watches; closes one whose last ping was not answered (1011)."""

    def __init__(self, interval: float = INTERVAL_SECONDS, min_sleep: float = MIN_SLEEP_SECONDS) -> None:
        self._interval = interval
        self._min_sleep = min_sleep
        # When each connection gets its next ping, on the clock of the loop; the earliest first.
        self._due: dict[Connection, float] = {}
        # None while no connection is watched.
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        # Closing handshakes under way.
        self._tasks = Background()

    def watch(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        self._due[connection] = loop.time() + self._interval
        if self._timer is None:
            self._timer = loop.call_later(self._interval, self._ping)

    def forget(self, connection: Connection) -> None:
        self._due.pop(connection, None)

    def _ping(self) -> None:
        """Ping what is due, and come back for the next."""
        loop = asyncio.get_running_loop()
        now, self._timer, count = loop.time(), None, 0
        while self._due:
            connection, due = next(iter(self._due.items()))
            if due > now:
                self._timer = loop.call_later(max(due - now, self._min_sleep), self._ping)
                return
            if count == PINGS_A_TURN:
                self._timer = loop.call_soon(self._ping)
                return
            count += 1
            del self._due[connection]
            if connection.ping_again():
                self._due[connection] = now + self._interval
            else:
                self._tasks.spawn(connection.close_silent())

    def close(self) -> None:
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
