"""A websocket connection that reads in small pieces and bounds what a hostile client can make the agent hold."""

import time
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode

READ_BYTES = 16384  # bytes parsed in one turn of the event loop: some thousand empty frames
MAX_PONG_BYTES = 1 << 20  # bytes of pongs queued for a client that does not read them
MAX_ANONYMOUS_BYTES = 65536  # bytes accepted after the upgrade until the caller has logged in


class Connection(ServerConnection):
    """A connection whose client may be hostile.

    The event loop delivers up to 256 KiB at once, which may be 40,000 frames: parsing them would stop all other
    connections for a tenth of a second. So what exceeds one piece waits for the next turn of the event loop,
    and so does reading.

    This relies on what websockets 17.4 does not document: `recv_messages` calls its `resume` when the queue of
    messages has room again, `paused` is true until then, and what `data_received` writes are pongs.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # When the client connected, on the monotonic clock: before its credentials were checked.
        self.admitted = time.monotonic()
        # Bytes that may still arrive; None: any number.
        self.allowance: int | None = None
        # Bytes read from the socket and not parsed yet.
        self._unparsed = b""
        # Whether a turn of the event loop is scheduled that parses the next piece.
        self._scheduled = False
        # Bytes of pongs that are queued since the socket last took everything.
        self._pong_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.recv_messages.resume = self._go_on

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        if not self._scheduled:
            self._parse_piece()

    def _parse_piece(self) -> None:
        self._scheduled = False
        piece, self._unparsed = self._unparsed[:READ_BYTES], self._unparsed[READ_BYTES:]
        if not piece:
            return
        self._spend_allowance(len(piece))
        queued = self.transport.get_write_buffer_size()
        super().data_received(piece)
        self._count_pongs(queued)
        if self._unparsed:
            self.transport.pause_reading()
        if not self.recv_messages.paused:
            self._go_on()

    def _go_on(self) -> None:
        """Schedule the next piece; without one, read from the socket again."""
        if not self._unparsed:
            self.transport.resume_reading()
        elif not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._parse_piece)

    def _spend_allowance(self, size: int) -> None:
        """Close the connection of a client that sends more than a login needs."""
        if self.allowance is not None:
            self.allowance -= size
            if self.allowance < 0:
                self.protocol.fail(CloseCode.POLICY_VIOLATION, "expected auth.login")

    def _count_pongs(self, queued: int) -> None:
        """Drop a client that sends pings and does not read the pongs: websockets queues them without a limit.

        `queued` is the size of the write buffer before the piece was parsed; 0 means that the client reads.
        """
        self._pong_bytes += max(0, self.transport.get_write_buffer_size() - queued)
        if not queued:
            self._pong_bytes = 0
        if self._pong_bytes > MAX_PONG_BYTES:
            self._unparsed = b""
            self.transport.abort()

    def resume_writing(self) -> None:
        self._pong_bytes = 0
        super().resume_writing()

    def eof_received(self) -> None:
        # A client that has logged in may send its requests and close its side without waiting for answers.
        while self._unparsed and self.allowance is None:
            self._parse_piece()
        self._unparsed = b""
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unparsed = b""
        super().connection_lost(exc)
        self.recv_messages.resume = self.transport.resume_reading  # break the reference cycle
