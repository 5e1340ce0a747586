"""A websocket that takes what arrives in small pieces, and no more than somebody has a reason to send."""

import time
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode

READ_BYTES = 16384  # bytes that are read at once: some thousand frames without content
MAX_PONG_BYTES = 1 << 20  # bytes of pongs for a client that does not read
MAX_ANONYMOUS_BYTES = 65536  # bytes after the upgrade, until somebody has logged in


class Connection(ServerConnection):
    """One of a client that may mean harm.

    The event loop hands over up to 256 KiB, which may be 40,000 frames: a tenth of a second for which nobody
    else would be served. So what is beyond a piece waits for the next turn, and reading with it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.admitted = time.monotonic()  # before anybody was asked who is calling
        self.allowance: int | None = None  # bytes that may still come; None: any number
        self._rest = b""
        self._taking = False  # a turn in which the next piece is taken will come
        self._owed = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.recv_messages.resume = self._go_on

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if not self._taking:
            self._take()

    def _take(self) -> None:
        self._taking = False
        piece, self._rest = self._rest[:READ_BYTES], self._rest[READ_BYTES:]
        if not piece:
            return
        self._judge(len(piece))
        waiting = self.transport.get_write_buffer_size()
        super().data_received(piece)
        self._owe(waiting)
        if self._rest:
            self.transport.pause_reading()
        if not self.recv_messages.paused:
            self._go_on()

    def _go_on(self) -> None:
        """Take the next piece, or read on where there is none."""
        if not self._rest:
            self.transport.resume_reading()
        elif not self._taking:
            self._taking = True
            self.loop.call_soon(self._take)

    def _judge(self, size: int) -> None:
        """Close the connection of somebody who sends what leads to nothing."""
        if self.allowance is not None:
            self.allowance -= size
            if self.allowance < 0:
                self.protocol.fail(CloseCode.POLICY_VIOLATION, "expected auth.login")

    def _owe(self, waiting: int) -> None:
        """Drop who sends pings and does not read the pongs, which nobody could hold back."""
        self._owed = self._owed + max(0, self.transport.get_write_buffer_size() - waiting) if waiting else 0
        if self._owed > MAX_PONG_BYTES:
            self._rest = b""
            self.transport.abort()

    def resume_writing(self) -> None:
        self._owed = 0
        super().resume_writing()

    def eof_received(self) -> None:
        while self._rest and self.allowance is None:  # what somebody sent who did not wait for an answer
            self._take()
        self._rest = b""
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest = b""
        super().connection_lost(exc)
        self.recv_messages.resume = self.transport.resume_reading  # no longer ours: a circle less
