"""One connection: who is calling, its requests under way and its subscriptions."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from websockets.exceptions import ConnectionClosed

from jobworker import errors
from jobworker.auth.access import Permissions
from jobworker.model import Principal, seconds
from jobworker.protocol import BINARY_SUBPROTOCOL
from jobworker.server.connection import Connection
from jobworker.server.jsonrpc import Message, not_logged_in, read, refused
from jobworker.server.services import Services
from jobworker.server.subscription import Send, Subscription
from jobworker.tasks import Background

log = logging.getLogger(__name__)

T = TypeVar("T")
S = TypeVar("S", bound=Subscription)

After = list[Callable[[], None]]  # steps to take once the answer to a message has been sent
Handler = Callable[["Session", Message], Awaitable[tuple[bytes | None, After]]]

MAX_LOGIN_BYTES = 8192
MAX_SLEEP_SECONDS = 60.0  # seconds
CLOSE_UNSUPPORTED = 1003
CLOSE_POLICY = 1008
CLOSE_INTERNAL = 1011


class Closable(Protocol):
    """What a subscription reads from."""

    def close(self) -> None: ...


class Session:
    """Lives as long as its connection; `handle` answers its messages."""

    def __init__(
        self,
        connection: Connection,
        address: str,
        services: Services,
        principal: Principal | None,
        handle: Handler,
    ) -> None:
        self.services = services
        self._answer = handle
        self._arrived_as = principal
        self.since = connection.admitted  # when it was asked who is calling
        self._permissions: Permissions | None = None
        self._expiry: asyncio.Task[None] | None = None
        self.address = address
        self.subscriptions: dict[str, Subscription] = {}
        self._connection = connection
        self._numbered = 0
        self._tasks = Background()
        self._waits: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._turn = asyncio.Lock()
        self.paged = 0  # bytes of pages whose answers are not sent yet
        self._slots = asyncio.Semaphore(services.config.limits.requests_in_flight)

    @property
    def binary(self) -> bool:
        """Whether log data goes in binary frames."""
        return self._connection.subprotocol == BINARY_SUBPROTOCOL

    def permissions(self) -> Permissions:
        """Return what the caller may do; raise Unauthenticated where nobody knows who that is."""
        if self._permissions is None:
            raise errors.Unauthenticated("not logged in", hint="call auth.login first")
        return self._permissions

    @property
    def logged_in(self) -> bool:
        return self._permissions is not None

    @property
    def principal(self) -> Principal | None:
        """The caller; None until it has logged in."""
        return None if self._permissions is None else self._permissions.principal

    @property
    def caller(self) -> Principal:
        """The caller; raise Unauthenticated if it has not logged in."""
        return self.permissions().principal

    async def log_in(self, principal: Principal) -> None:
        """From now on the caller is this principal, as long as its credentials last."""
        self._permissions = await self.services.authorization.permissions(principal)
        if self.services.sessions.was_revoked(principal, self.since):
            await self.close("the credentials were revoked")
        elif self.services.sessions.has_too_many_connections(principal):
            await self.close("too many connections of this principal")
        if principal.expires_at is not None:
            self._expiry = self._tasks.spawn(self._end_at(principal.expires_at))

    async def _end_at(self, moment: float) -> None:
        while (left := moment - time.time()) > 0:  # noqa: ASYNC110  # the wall clock has no event for it
            await asyncio.sleep(min(left, MAX_SLEEP_SECONDS))  # the clock may be set meanwhile
        await self.close("the credentials expired")

    async def close(self, reason: str) -> None:
        """Close the connection, for its caller is no longer who may have it."""
        await self._connection.close(CLOSE_POLICY, reason)

    async def run(self) -> None:
        self.services.sessions.add(self)
        try:
            if self._arrived_as is not None:
                await self.log_in(self._arrived_as)
            elif not await self._stranger():
                return
            await self._serve()
        except ConnectionClosed:
            pass
        finally:
            self.services.sessions.discard(self)
            self._closed = True
            if self._expiry is not None:
                self._expiry.cancel()
            for wait in self._waits:
                wait.cancel()
            await self._stop_subscriptions()

    async def _serve(self) -> None:
        async for message in self._connection:
            if not isinstance(message, str):
                await self._connection.close(CLOSE_UNSUPPORTED, "expected a text frame")
                return
            try:
                said = read(message)
            except errors.RpcError as error:
                await self._connection.send(refused(error), text=True)
                continue
            taken = min(len(said.requests), self.services.config.limits.requests_in_flight)
            if not await self._take_slots(taken):
                return
            self._tasks.spawn(self._handle(said, taken))

    async def _take_slots(self, number: int) -> bool:
        """Read no further until so many requests more can be worked on; return False where the caller has left."""
        if not self._slots.locked() and number == 1:
            return await self._slots.acquire()
        taking = asyncio.ensure_future(self._acquire(number))
        left = asyncio.ensure_future(self._connection.wait_closed())
        try:
            await asyncio.wait({taking, left}, return_when=asyncio.FIRST_COMPLETED)
            return taking.done()
        finally:
            taking.cancel()
            left.cancel()

    async def _acquire(self, number: int) -> None:
        for _ in range(number):
            await self._slots.acquire()

    async def _stop_subscriptions(self) -> None:
        for subscription in list(self.subscriptions.values()):
            await subscription.stop()

    async def look(self, looking: Coroutine[Any, Any, T]) -> T:
        """Read what others want to read as well: one at a time for each principal, and only while it is there."""

        async def in_turn() -> T:
            async with self.services.sessions.read_lock(self.caller):
                return await looking

        try:
            return await self.while_connected(in_turn())
        finally:
            looking.close()  # one that was not begun

    async def while_connected(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for something that is of no use once the caller is gone; all else runs to its end."""
        if self._closed:
            waiting.close()
            raise asyncio.CancelledError
        task = asyncio.ensure_future(waiting)
        self._waits.add(task)
        try:
            return await task
        finally:
            self._waits.discard(task)

    async def _stranger(self) -> bool:
        self.services.sessions.unauthenticated += 1
        try:
            return await self._first_message()
        finally:
            self.services.sessions.unauthenticated -= 1

    async def _first_message(self) -> bool:
        """Let nothing but auth.login in, in time and small; return whether it worked."""
        limit = seconds(self.services.config.auth.login_timeout, "auth.login_timeout")
        try:
            async with asyncio.timeout(limit):
                message = await self._connection.recv()
        except TimeoutError:
            await self._connection.close(CLOSE_POLICY, f"no auth.login within {limit:g} s")
            return False
        self._connection.allowance = None  # what follows waits for the answer to this
        # A batch would be many guesses for the price of one.
        batch = isinstance(message, str) and message.lstrip().startswith("[")
        if batch:
            await self._connection.send(not_logged_in(), text=True)
        elif isinstance(message, str) and len(message.encode()) <= MAX_LOGIN_BYTES:
            try:
                answer, _ = await self._answer(self, read(message))
            except errors.RpcError as error:
                answer = refused(error)
            if answer is not None:
                await self._connection.send(answer, text=True)
            if self._permissions is not None:
                return True
        await self._connection.close(CLOSE_POLICY, "expected auth.login")
        return False

    async def _handle(self, message: Message, slots: int) -> None:
        try:
            answer, after = await self._answer(self, message)
            if answer is not None:
                await self._connection.send(answer, text=True)
            for step in after:
                step()
        except ConnectionClosed:
            pass
        finally:
            for _ in range(slots):
                self._slots.release()
            if self._closed:
                await self._stop_subscriptions()

    async def unsubscribe(self, name: str, kind: type[Subscription]) -> None:
        """Return when nothing of it follows any more; raise SubscriptionNotFound, also for one of another kind."""
        subscription = self.subscriptions.get(name)
        if not isinstance(subscription, kind):
            raise errors.SubscriptionNotFound(f"this connection has no such subscription: {name[:80]!r}")
        await subscription.stop()

    def _subscription_failed(self) -> None:
        """Close the connection: the caller would wait for ever; over a new one it goes on where it was."""
        self._tasks.spawn(self._connection.close(CLOSE_INTERNAL, "a subscription failed"))

    async def _notify(self, frame: bytes, text: bool) -> None:
        """Send for a subscription: one at a time, so that an answer waits for one frame and not for one of each."""
        async with self._turn:
            await self._connection.send(frame, text=text)

    def check_room(self) -> None:
        """Raise RateLimited where one subscription more would be too many."""
        if self._closed:
            raise errors.SubscriptionNotFound("the connection is closed")
        limit = self.services.config.limits.subscriptions
        if len(self.subscriptions) >= limit:
            raise errors.RateLimited(
                f"this connection has {limit} subscriptions; expected at most that", retry_after=1.0
            )

    def subscribe(self, make: Callable[[str, Send, Callable[[], None]], S], source: Closable) -> S:
        """Return a subscription that is yet to be started; raise RateLimited, with its source closed."""
        try:
            self.check_room()
        except errors.RpcError:
            source.close()
            raise
        self._numbered += 1
        name = f"s{self._numbered}"

        def forget() -> None:
            self.subscriptions.pop(name, None)

        made = make(name, self._notify, forget)
        made.failed = self._subscription_failed
        self.subscriptions[name] = made
        return made
