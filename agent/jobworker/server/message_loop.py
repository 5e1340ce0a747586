"""Read the messages of one connection in order, and answer them: this is the hot path of the agent."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from sys import getsizeof
from typing import Any, Protocol

from websockets.exceptions import ConnectionClosed

from jobworker import errors
from jobworker.protocol import BINARY_SUBPROTOCOL
from jobworker.server.connection import MAX_COLLECTED_BYTES, Connection
from jobworker.server.jsonrpc import Message, read, read_binary, refuse_all, refused
from jobworker.tasks import Background

SMALL_BYTES = 16384  # a message in memory: so many of them may be under way as requests may be in flight
MAX_IN_FLIGHT_BYTES = 8 << 20  # of larger messages of one connection that are under way
TURN_SECONDS = 0.002  # that one connection is answered before others get a turn
CONTAINER_BYTES = 256  # of a string, which take as long to decode as a list or an object does
CLOSE_UNSUPPORTED = 1003
CLOSE_TRY_AGAIN = 1013

After = list[Callable[[], None]]  # steps to take once the answer to a message has been sent


async def no_wait() -> None:
    pass


class Reply:
    """What becomes of one message: an answer, None for notifications only, or what completes it in a task."""

    __slots__ = ("_encode", "after", "answer", "waiting")

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        """`encode` makes the answer of what `waiting` returns."""
        self._encode = encode
        self.after: After = []
        self.answer: bytes | None = None
        # Returns the response, or all of a batch; None if nothing must be waited for.
        self.waiting: Awaitable[Any] | None = None

    async def completed(self, room: Callable[[], Awaitable[None]] = no_wait) -> bytes | None:
        """Wait for the response, then for `room` for the answer, and encode it only then."""
        assert self.waiting is not None
        response = await self.waiting
        if response is None:
            return None
        await room()
        return self._encode(response)


class Budget(Protocol):
    """Counts the bytes of large messages that a principal has under way."""

    def reserve(self, size: int) -> None:
        """Raise RateLimited if they would be too many."""

    def release(self, size: int) -> None: ...

    def turn(self, size: int, cost: int) -> float:
        """Return in how many seconds one of so many bytes may be decoded; call `arrived` then, unless it is 0.

        `cost`: how long that takes, as that of so many bytes of one string. Raises RateLimited if too many bytes wait
        for that already.
        """

    def arrived(self, size: int) -> None: ...


class MessageLoop:
    """Answers what need not wait at once, and the rest each in a task of its own."""

    __slots__ = (
        "_budget",
        "_clean_up",
        "_connection",
        "_ended",
        "_freed",
        "_handle",
        "_in_flight",
        "_in_flight_bytes",
        "_limit",
        "_tasks",
    )

    def __init__(
        self,
        connection: Connection,
        handle: Callable[[Message], Reply],
        limit: int,
        tasks: Background,
        budget: Budget,
    ) -> None:
        """`limit`: of the requests in flight; `tasks` runs what must be waited for, also after the connection."""
        self._budget = budget
        # Bytes of the large messages for which something is waited for. Beyond a limit nothing is read.
        self._in_flight_bytes = 0
        self._connection = connection
        self._handle = handle
        self._tasks = tasks
        # Whether the caller may no longer have the connection: what it has sent and is not read yet is not done.
        self._ended = False
        # Requests for which something is waited for. At the limit nothing is read.
        self._in_flight = 0
        self._limit = limit
        # Set when a request is no longer in flight, while that is waited for.
        self._freed: asyncio.Future[None] | None = None
        # Called after each message that is completed once the session has cleaned up.
        self._clean_up: Callable[[], Awaitable[None]] | None = None

    def end(self) -> None:
        """Answer nothing that is not begun."""
        self._ended = True

    def when_completed(self, clean_up: Callable[[], Awaitable[None]]) -> None:
        """Call this after each message that is completed from now on."""
        self._clean_up = clean_up

    async def run(self) -> None:
        """Read messages in order: answer what need not wait at once, and the rest each in a task of its own."""
        connection = self._connection
        turn_ends = time.monotonic() + TURN_SECONDS
        while True:
            # What has arrived already is taken without a turn of the event loop. Its answers are collected, and sent
            # before anything is waited for, so nothing overtakes them.
            text = connection.take()
            if text is None or time.monotonic() > turn_ends or connection.collected_bytes > MAX_COLLECTED_BYTES:
                await connection.send_collected()
                if text is None:
                    text = await connection.recv()
                else:
                    await asyncio.sleep(0)  # let other connections run
                turn_ends = time.monotonic() + TURN_SECONDS
            if not isinstance(text, str) and connection.subprotocol != BINARY_SUBPROTOCOL:
                await connection.send_collected()
                await connection.close(CLOSE_UNSUPPORTED, "expected a text frame")
                return
            size = getsizeof(text)
            size = size if size > SMALL_BYTES else 0
            if size and isinstance(text, str) and not await self._wait_turn(text, size):
                return
            try:
                message = read(text) if isinstance(text, str) else read_binary(text)
            except errors.RpcError as error:
                connection.collect(refused(error))
                continue
            # A batch larger than the limit takes all of it: waiting for more would never end.
            number = min(len(message.requests), self._limit)
            if not self._has_room(number, size):
                await connection.send_collected()
                if not await self._wait_for_room(number, size):
                    return
            if self._ended:
                await connection.send_collected()
                return
            if size:
                try:
                    self._budget.reserve(size)
                except errors.RpcError as error:
                    if (answer := refuse_all(message, error)) is not None:
                        connection.collect(answer)
                    continue
            reply = self._handle(message)
            if reply.waiting is not None:
                self._in_flight += number
                self._in_flight_bytes += size
                self._tasks.spawn(self._complete(reply, number, size))
            else:
                if size:
                    self._budget.release(size)
                if reply.answer is not None:
                    connection.collect(reply.answer)
                for step in reply.after:
                    step()

    async def _wait_turn(self, text: str, size: int) -> bool:
        """Wait until a large text may be decoded, which takes long: in each turn of the loop any connection has one.

        Closes the connection, and returns False, if the principal has too many that wait.
        """
        try:
            cost = size + CONTAINER_BYTES * (text.count("{") + text.count("["))
            seconds = self._budget.turn(size, cost)
        except errors.RateLimited as error:
            await self._connection.send_collected()
            await self._connection.close(CLOSE_TRY_AGAIN, error.message)
            return False
        if seconds:
            try:
                await self._connection.send_collected()
                await asyncio.sleep(seconds)
            finally:
                self._budget.arrived(size)
        return True

    def _has_room(self, number: int, size: int) -> bool:
        """Whether so many requests more may be in flight, of so many bytes; one message alone always may."""
        held = self._in_flight_bytes
        return self._in_flight + number <= self._limit and not (held and held + size > MAX_IN_FLIGHT_BYTES)

    async def _wait_for_room(self, number: int, size: int) -> bool:
        """Wait until there is room for a message; return False if the caller leaves first."""
        left = asyncio.ensure_future(self._connection.wait_closed())
        try:
            while not self._has_room(number, size):
                self._freed = asyncio.get_running_loop().create_future()
                await asyncio.wait({self._freed, left}, return_when=asyncio.FIRST_COMPLETED)
                if left.done():
                    return False
            return True
        finally:
            self._freed = None
            left.cancel()

    async def _complete(self, reply: Reply, number: int, size: int) -> None:
        """Complete and send an answer, also if the caller leaves meanwhile: what was begun is completed."""
        try:
            # An answer may have megabytes: of those that the client does not read one is encoded, and no more.
            answer = await reply.completed(self._connection.answers_sent)
            if answer is not None:
                await self._connection.send_answer(answer)
            for step in reply.after:
                step()
        except ConnectionClosed:
            pass
        finally:
            self._in_flight -= number
            if size:
                self._in_flight_bytes -= size
                self._budget.release(size)
            if self._freed is not None and not self._freed.done():
                self._freed.set_result(None)
            if self._clean_up is not None:
                await self._clean_up()
