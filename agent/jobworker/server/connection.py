"""A websocket connection that reads in small pieces and bounds what a hostile client can make the agent hold."""

import asyncio
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Opcode
from websockets.protocol import State

from jobworker.server.frame_ends import FrameEnds
from jobworker.server.requests import KeptProtocol, Requests

READ_BYTES = 16384  # bytes parsed in one turn of the event loop: some thousand empty frames
LARGE_BYTES = 1 << 16  # of a message that is being received, from which on it is counted
MAX_PONG_BYTES = 1 << 20  # bytes of pongs queued for a client that does not read them
MAX_ANONYMOUS_BYTES = 65536  # bytes accepted after the upgrade until the caller has logged in
MAX_QUEUED_BYTES = 1 << 20  # bytes of messages that wait to be handled, beyond which nothing more is read
MAX_UNSENT_BYTES = 1 << 18  # bytes of answers that the client has not read, beyond which nothing more is read
MAX_COLLECTED_BYTES = 65536  # bytes of answers that are sent together

_buffer = memoryview(bytearray(1 << 18))
_pack_small, _pack_medium, _pack_large = (struct.Struct(form).pack for form in ("!BB", "!BBH", "!BBQ"))


def frame_head(size: int, *, text: bool) -> bytes:
    """Return what precedes a message of this size in its frame, which is the only one of the message."""
    first = 0x81 if text else 0x82
    if size < 126:
        return _pack_small(first, size)
    return _pack_medium(first, 126, size) if size < 65536 else _pack_large(first, 127, size)


def _nothing() -> None:
    pass


class Receiver(asyncio.BufferedProtocol):
    """Receives what arrives for a connection, by one buffer for all of them, and passes on everything else.

    For another protocol than a buffered one uvloop allocates 256 KiB for each read, which are pages of the kernel.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(_buffer[:nbytes].tobytes())

    def eof_received(self) -> None:
        self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


class Connection(ServerConnection):
    """A connection whose client may be hostile.

    The event loop delivers up to 256 KiB at once, which may be 40,000 frames: parsing them would stop all other
    connections for a tenth of a second. So what exceeds one piece waits for the next turn of the event loop,
    and so does reading. A piece of a single large frame, as of a job's input, is parsed at once: that only copies it.

    Its own `take` and `send_...` do what `recv` and `send` of websockets do, without their coroutines, context
    managers and copies, in the usual case: a message in one frame, on an open connection. They leave the others to
    those.

    This relies on what websockets 17.4 does not document: `recv_messages` calls its `resume` when the queue of
    messages has room again, `paused` is true until then, its `frames.queue` has what was received and not taken;
    `protocol.reader.buffer` has the bytes of a frame that is not complete, `protocol.current_size` counts those of
    the complete frames of a message that is not; `data_received` calls `send_data`, which sends `protocol.writes`;
    `acknowledge_pings` gets each pong; `paused` and `drain` of the connection follow the transport's write buffer.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # When the client connected, on the monotonic clock: before its credentials were checked.
        self.admitted = time.monotonic()
        # Bytes that may still arrive; None: any number.
        self.allowance: int | None = None
        # Counts bytes of a large message that is not complete, and returns if there may be as many; None: before
        # the login, when `allowance` bounds them.
        self.count_received: Callable[[int], bool] | None = None
        # Bytes that it has counted and that are not complete yet.
        self._counted = 0
        # Called when the request has come or the connection is lost; None: it was.
        self._on_request: Callable[[], None] | None = _nothing
        # Bytes read from the socket and not parsed yet.
        self._unparsed = b""
        self._frames = FrameEnds()
        # The requests before the connection is open; None: it is open.
        self._requests: Requests | None = Requests()
        # Whether a turn of the event loop is scheduled that parses the next piece.
        self._scheduled = False
        # Bytes of pongs that are queued since the socket last took everything.
        self._pong_bytes = 0
        # Frames of answers that are sent together, and their size in bytes.
        self._collected: list[bytes] = []
        self.collected_bytes = 0
        # Bytes of answers that are queued since the socket last took almost everything.
        self._unsent_bytes = 0
        # The payload of the last ping of `ping_again`; empty once it was answered.
        self._awaited_pong = b""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.recv_messages.resume = self._go_on
        transport.set_protocol(Receiver(self))

    def when_requested(self, call: Callable[[], None]) -> None:
        """Call this when the request has come or the connection is lost, at once if either has happened."""
        if self._on_request is None:
            call()
        else:
            self._on_request = call

    def requested(self) -> None:
        """Note that the request has come."""
        call, self._on_request = self._on_request, None
        if call is not None:
            call()

    async def handshake(self, *args: Any, **options: Any) -> None:
        """Answer requests until one opens the connection or ends it."""
        assert self._requests is not None
        kept = self.protocol if isinstance(self.protocol, KeptProtocol) else None
        while True:
            if kept is not None:
                kept.kept = False
            await super().handshake(*args, **options)
            if self._requests.paused:
                self._requests.paused = False
                self.transport.resume_reading()
            if kept is None or not kept.kept:
                break
            self.request = self.response = None
            self.request_rcvd = self.loop.create_future()
            self._frames = FrameEnds()
            self.data_received(self._requests.answered())
        self.requested()
        requests, self._requests = self._requests, None
        if self.protocol.state is State.OPEN and (held := requests.answered()):
            self.data_received(held)

    def data_received(self, data: bytes) -> None:
        if self._requests is not None:
            data = self._requests.take(data)
            if self._requests.full and not self._requests.paused:
                self._requests.paused = True
                self.transport.pause_reading()
            if not data:
                return
        if len(data) <= READ_BYTES and not self._unparsed:  # the usual case: one piece, and none waits before it
            self._frames.pass_by(data)
            self._parse(data)
            return
        self._unparsed += data
        if not self._scheduled:
            self._parse_piece()

    def _parse(self, piece: bytes) -> None:
        if self.allowance is not None:
            self._spend_allowance(len(piece))
        super().data_received(piece)
        if self.count_received is not None:
            held = len(self.protocol.reader.buffer) + (self.protocol.current_size or 0)
            if self._counted or held > LARGE_BYTES:
                self._count(held, self.count_received)

    def _count(self, held: int, count: Callable[[int], bool]) -> None:
        """Count what is held of a message that is not complete; close the connection if that is too much."""
        more, self._counted = held - self._counted, held
        if not count(more) and self.protocol.state is State.OPEN:
            self.protocol.fail(CloseCode.TRY_AGAIN_LATER, "too many bytes of messages that are not complete")
            self.send_data()

    def _parse_piece(self) -> None:
        self._scheduled = False
        if not self._unparsed:
            return
        size = max(READ_BYTES, self._frames.left(self._unparsed))
        piece, self._unparsed = self._unparsed[:size], self._unparsed[size:]
        self._frames.pass_by(piece)
        self._parse(piece)
        if self._unparsed:
            self.transport.pause_reading()
        messages = self.recv_messages
        if not messages.paused and sum(len(frame.data) for frame in messages.frames.queue) > MAX_QUEUED_BYTES:
            messages.paused = True  # by their bytes, as by their number: they call `resume` when they are taken
            self.transport.pause_reading()
        if not messages.paused:
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
        assert self.allowance is not None
        self.allowance -= size
        if self.allowance < 0:
            self.protocol.fail(CloseCode.POLICY_VIOLATION, "expected auth.login")

    def send_data(self) -> None:
        """Send what websockets has made, pongs above all; drop a client that sends pings and does not read pongs.

        websockets queues them without a limit.
        """
        if not self.protocol.writes:  # almost always
            return
        if not self.transport.get_write_buffer_size():  # the client reads
            self._pong_bytes = 0
        self._pong_bytes += sum(map(len, self.protocol.writes))
        super().send_data()
        if self._pong_bytes > MAX_PONG_BYTES:
            self._unparsed = b""
            self.transport.abort()

    def resume_writing(self) -> None:
        self._pong_bytes = self._unsent_bytes = 0
        super().resume_writing()

    # Liveness

    def ping_again(self) -> bool:
        """Send a ping; return False, and send none, if the last one was not answered."""
        if self._awaited_pong:
            return False
        if self.protocol.state is State.OPEN:
            self._awaited_pong = os.urandom(4)
            self.transport.write(_pack_small(0x89, 4) + self._awaited_pong)
        return True

    def acknowledge_pings(self, data: bytes) -> None:
        """Take a pong."""
        if data == self._awaited_pong:
            self._awaited_pong = b""
        super().acknowledge_pings(data)

    def abort_after(self, seconds: float) -> None:
        """Cut the connection after this time, whatever is still to be sent or received."""
        self.loop.call_later(seconds, self.transport.abort)

    @property
    def agent_left(self) -> bool:
        """Whether the connection was closed because the agent ends or restarts."""
        sent = self.protocol.close_sent
        leaves = sent is not None and sent.code in (CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART)
        return leaves and not self.protocol.close_rcvd_then_sent

    async def close_silent(self) -> None:
        """Close the connection of a client that did not answer a ping."""
        try:
            async with self.send_context():
                self.protocol.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
        except ConnectionClosed:
            pass

    # Messages

    def take(self) -> str | bytes | None:
        """Return the next message if it has arrived in one frame; None: `recv` waits for it, or closes for it."""
        frames = self.recv_messages.frames.queue
        if not frames or not frames[0].fin:
            return None
        frame = frames[0]
        try:
            message = frame.data.decode() if frame.opcode is Opcode.TEXT else bytes(frame.data)  # type: ignore[union-attr]
        except UnicodeDecodeError:
            return None
        frames.popleft()
        self.recv_messages.maybe_resume()
        return message

    def collect(self, answer: bytes) -> None:
        """Add an answer to those that `send_collected` will send."""
        head = frame_head(len(answer), text=True)
        self._collected += (head, answer)
        self.collected_bytes += len(head) + len(answer)

    async def send_collected(self) -> None:
        """Send the collected answers; return when the client has read enough of its answers."""
        if self._collected:
            self._write_answers(b"".join(self._collected))
            self._collected.clear()
            self.collected_bytes = 0
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            await self.answers_sent()

    async def send_answer(self, answer: bytes) -> None:
        """Send an answer; return when the socket takes more. Raises ConnectionClosed."""
        if self.protocol.state is not State.OPEN:
            await self.raise_closed()
        self._write_answers(frame_head(len(answer), text=True) + answer)
        if self.paused:
            await self.drained()

    def write_frame(self, parts: Sequence[bytes], text: bool) -> bool:
        """Send a message that is given in parts, unless the socket takes nothing now or the connection is closing.

        Return whether it was sent. If not, `drained` waits for the socket, or `raise_closed` raises.
        """
        if self.paused or self.protocol.state is not State.OPEN:
            return False
        self.transport.write(b"".join((frame_head(sum(map(len, parts)), text=text), *parts)))
        return True

    async def answers_sent(self) -> None:
        """Return when the client has read enough of its answers, or is gone."""
        while not self.takes_answers:
            await self.drained()

    @property
    def takes_answers(self) -> bool:
        """Whether the client has read enough of its answers for more to be made."""
        return self._unsent_bytes <= MAX_UNSENT_BYTES

    def _write_answers(self, frames: bytes) -> None:
        """Write frames of answers and count them, unless the connection is closing: no one waits for them then."""
        if self.protocol.state is State.OPEN:
            self.transport.write(frames)
            if self.paused:  # else the socket has taken almost everything
                self._unsent_bytes += len(frames)

    async def raise_closed(self) -> None:
        """Raise ConnectionClosed if the connection is closing, when it is closed."""
        if self.protocol.state is not State.OPEN:
            async with self.send_context():
                pass

    async def drained(self) -> None:
        """Return when the write buffer has room, or the connection is lost, which the next call finds out."""
        try:
            await self.drain()
        except OSError:
            pass

    def eof_received(self) -> None:
        # A client that has logged in may send its requests and close its side without waiting for answers.
        while self._unparsed and self.allowance is None:
            self._parse_piece()
        self._unparsed = b""
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.requested()
        if self._counted and self.count_received is not None:
            self.count_received(-self._counted)
            self._counted = 0
        self._unparsed = b""
        super().connection_lost(exc)
        self._unsent_bytes = 0  # nothing waits for them any more
        self.recv_messages.resume = self.transport.resume_reading  # break the reference cycle
