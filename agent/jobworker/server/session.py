"""A session: one connection with its caller, its requests under way and its subscriptions."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from websockets.exceptions import ConnectionClosed

from jobworker import errors
from jobworker.auth.access import Permissions
from jobworker.auth.authentication import from_handshake
from jobworker.model import JobSummary, Principal
from jobworker.protocol import BINARY_SUBPROTOCOL
from jobworker.server.connection import Connection
from jobworker.server.jsonrpc import Message, not_logged_in, read, refused
from jobworker.server.message_loop import MessageLoop, Reply
from jobworker.server.services import Services
from jobworker.server.session_inputs import SessionInputs
from jobworker.server.subscription import Send, Subscription
from jobworker.tasks import Background
from jobworker.units import seconds

log = logging.getLogger(__name__)

T = TypeVar("T")
S = TypeVar("S", bound=Subscription)

Handler = Callable[["Session", Message], Reply]

MAX_LOGIN_BYTES = 8192  # bytes of the first message
MAX_SLEEP_SECONDS = 60.0  # between two looks at the wall clock, which may be set meanwhile
DROPPED_SECONDS = 1.0  # for the closing handshake with a caller that may no longer have the connection
CLOSE_POLICY = 1008
CLOSE_INTERNAL = 1011
CLOSE_AGAIN = 1012  # a client connects and logs in again


class Closable(Protocol):
    """What a subscription reads from."""

    def close(self) -> None: ...


class Session:
    """Serves one connection until it closes.

    `principal` is the caller that the upgrade has authenticated, None if the first message has to log in.
    `handle` answers the messages.
    """

    def __init__(
        self,
        connection: Connection,
        address: str,
        origin: str,
        services: Services,
        principal: Principal | None,
        handle: Handler,
        traceparent: str = "",
    ) -> None:
        """`traceparent`: the header of that name of the upgrade, the parent of the spans of all its requests."""
        self.traceparent = traceparent
        # Names the session for admins.
        self.id = secrets.token_hex(6)
        # When the connection was upgraded, wall-clock time in ns.
        self.since = time.time_ns()
        # Number of requests so far; with `id` it names each of them in the logs.
        self.requests = 0
        self.services = services
        self.address = address
        # Of the page that has connected; empty for other clients.
        self.origin = origin
        # The id of the session of that page, if it has logged in by a ticket or by that session's secret.
        self.page_session = ""
        # When the caller presented its credentials, on the monotonic clock: a later revocation ends the session.
        self.authenticated_at = connection.admitted
        # Bytes of log pages that are read or waiting to be sent; `log.read` bounds them.
        self.pending_page_bytes = 0
        # Held while a subscription reads and sends a page of events: a connection has one page in memory at most.
        self.event_turn = asyncio.Lock()
        self.inputs = SessionInputs(services, address)
        # Running subscriptions by name; each removes itself when it ends.
        self.subscriptions: dict[str, Subscription] = {}
        self._connection = connection
        self._handle = handle
        self._upgrade_principal = principal
        # None until the caller has logged in.
        self._permissions: Permissions | None = None
        # Closes the session when the credentials expire.
        self._expiry: asyncio.Task[None] | None = None
        # Closes the session when it has lasted auth.session_lifetime.
        self._longest_life: asyncio.TimerHandle | None = None
        # Number of subscriptions made so far: names are never used twice.
        self._last_subscription = 0
        # Messages being answered, and handshakes of closing. They outlive the connection.
        self._tasks = Background()
        # Waits that are of no use without the caller; cancelled when the connection closes.
        self._waits: set[asyncio.Future[Any]] = set()
        # Whether the connection has ended; what is still under way must clean up after itself.
        self._closed = False
        # Whether the caller has lost its access, before the connection ends.
        self._dropped = False
        # Held by the one subscription that is sending.
        self._notify_lock = asyncio.Lock()
        # Reads and answers messages once the caller has logged in.
        self._messages = MessageLoop(
            connection,
            lambda message: handle(self, message),
            services.config.limits.requests_in_flight,
            self._tasks,
            self,
        )

    @property
    def binary(self) -> bool:
        """Whether log data is sent in binary frames."""
        return self._connection.subprotocol == BINARY_SUBPROTOCOL

    @property
    def certificate(self) -> bytes:
        """The client certificate in DER; empty if the client has sent none."""
        presented = from_handshake(self._connection.transport, self.address)
        return b"" if presented is None else presented.certificate

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

    def permissions(self) -> Permissions:
        """Return what the caller may do; raise Unauthenticated if it has not logged in, or may no longer call."""
        if self._dropped:
            raise errors.Unauthenticated("the credentials are no longer valid")
        if self._permissions is None:
            raise errors.Unauthenticated("not logged in", hint="call auth.login first")
        return self._permissions

    async def log_in(self, principal: Principal) -> None:
        """Make this principal the caller until its credentials expire or are revoked."""
        self._permissions = await self.services.authorization.permissions(principal)
        # All of it may have changed while the providers and authorizers were asked.
        revoked = self.services.sessions.was_revoked(principal, self.authenticated_at)
        if revoked or (self.certificate and self.services.revoked.holds(self.certificate)):
            await self.close("the credentials were revoked")
        elif self.services.sessions.has_too_many_connections(principal):
            await self.close("too many connections of this principal")
        if principal.expires_at is not None:
            self._expiry = self._tasks.spawn(self._close_at(principal.expires_at))
        if lifetime := seconds(self.services.config.auth.session_lifetime, "auth.session_lifetime"):
            self._longest_life = asyncio.get_running_loop().call_later(lifetime, self._end_of_life)

    async def _close_at(self, expires_at: float) -> None:
        """Close the session at a wall-clock time, in seconds since 1970."""
        while (left := expires_at - time.time()) > 0:  # noqa: ASYNC110  # the wall clock has no event for it
            await asyncio.sleep(min(left, MAX_SLEEP_SECONDS))
        await self.close("the credentials expired")

    def _end_of_life(self) -> None:
        self._tasks.spawn(self.close("auth.session_lifetime is over: log in again", CLOSE_AGAIN))

    def drop(self) -> None:
        """Begin no call of this caller any more, send nothing to its subscriptions, and cut the connection soon.

        The closing handshake alone would leave that to the caller: it may ignore the close frame, or read nothing.
        """
        if self._dropped:
            return
        self._dropped = True
        self.services.sessions.discard(self)
        self._messages.end()
        for subscription in list(self.subscriptions.values()):
            subscription.cancel()
        self._connection.abort_after(DROPPED_SECONDS)

    async def close(self, reason: str, code: int = CLOSE_POLICY) -> None:
        """Close the connection because its caller may no longer have it."""
        self.drop()
        await self._connection.close(code, reason)

    def reserve(self, size: int) -> None:
        """Count the bytes of a large request; raise RateLimited if the caller has too many under way."""
        self.services.sessions.reserve_request(self.caller, size)

    def release(self, size: int) -> None:
        principal = self.principal
        assert principal is not None  # it stays the one that `reserve` counted for
        self.services.sessions.release_request(principal, size)

    def turn(self, size: int, cost: int) -> float:
        """Return in how many seconds a large text of the caller may be decoded; RateLimited if too many wait."""
        principal = self.principal
        return 0.0 if principal is None else self.services.sessions.turn(principal, size, cost)

    def arrived(self, size: int) -> None:
        if (principal := self.principal) is not None:
            self.services.sessions.count_received(principal, -size)

    # The life of the connection

    async def run(self) -> None:
        """Log the caller in, serve its messages until the connection closes, and clean up."""
        self.services.sessions.add(self)
        try:
            if self._upgrade_principal is not None:
                await self.log_in(self._upgrade_principal)
            elif not await self._await_login():
                return
            self._connection.count_received = partial(self.services.sessions.count_received, self.caller)
            await self._messages.run()
        except ConnectionClosed:
            pass
        finally:
            self.services.sessions.discard(self)
            self._closed = True
            self._messages.when_completed(self._stop_subscriptions)  # what is under way may make one after this
            for timer in (self._expiry, self._longest_life):
                if timer is not None:
                    timer.cancel()
            for wait in self._waits:
                wait.cancel()
            if self._permissions is not None:
                self.inputs.leave(self._permissions.principal, agent_left=self._connection.agent_left)
            await self._stop_subscriptions()

    async def _await_login(self) -> bool:
        """Count as unauthenticated until the first message is handled; return whether it logged the caller in."""
        with self.services.sessions.unauthenticated(self.address):
            return await self._log_in_by_first_message()

    async def _log_in_by_first_message(self) -> bool:
        """Accept auth.login only, in time and small; else close the connection and return False."""
        limit = seconds(self.services.config.auth.login_timeout, "auth.login_timeout")
        try:
            async with asyncio.timeout(limit):
                message = await self._connection.recv()
        except TimeoutError:
            await self._connection.close(CLOSE_POLICY, f"no auth.login within {limit:g} s")
            return False
        self._connection.allowance = None  # later messages are not read before this one is answered
        if isinstance(message, str) and message.lstrip().startswith("["):
            # A batch would be many guesses for the price of one.
            await self._connection.send(not_logged_in(), text=True)
        elif isinstance(message, str) and len(message.encode()) <= MAX_LOGIN_BYTES:
            try:
                reply = self._handle(self, read(message))
                answer = reply.answer if reply.waiting is None else await reply.completed()
            except errors.RpcError as error:
                answer = refused(error)
            if answer is not None:
                await self._connection.send(answer, text=True)
            if self.logged_in:
                return True
        await self._connection.close(CLOSE_POLICY, "expected auth.login")
        return False

    # Work for the caller

    @property
    def takes_answers(self) -> bool:
        """Whether the caller has read enough of its answers for more to be made."""
        return self._connection.takes_answers

    async def in_turn(self, reading: Coroutine[Any, Any, T]) -> T:
        """Run a read of the job table that a call needs: one at a time for each principal."""
        try:
            async with self.services.sessions.read_lock(self.caller):
                return await reading
        finally:
            reading.close()  # if it was not begun

    async def read_in_turn(self, reading: Coroutine[Any, Any, T]) -> T:
        """Run an expensive read: one at a time for each principal, and only while the caller is there and reads."""

        async def locked() -> T:
            while True:
                await self._connection.answers_sent()  # not under the lock: this may take as long as the caller likes
                async with self.services.sessions.read_lock(self.caller):
                    if self._connection.takes_answers:
                        return await reading

        try:
            return await self.while_connected(locked())
        finally:
            reading.close()  # if it was not begun; Python would warn of it

    async def while_connected(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for something that is of no use once the caller is gone; all other work runs to its end."""
        if self._closed:
            waiting.close()
            raise asyncio.CancelledError
        task = asyncio.ensure_future(waiting)
        self._waits.add(task)
        try:
            return await task
        finally:
            self._waits.discard(task)

    # Subscriptions

    def check_subscription_limit(self) -> None:
        """Raise RateLimited if one subscription more would be too many."""
        if self._closed or self._dropped:
            raise errors.SubscriptionNotFound("the connection is closed")
        limit = self.services.config.limits.subscriptions
        if len(self.subscriptions) >= limit:
            raise errors.RateLimited(
                f"this connection has {limit} subscriptions, and limits.subscriptions allows no more",
                hint="end one, or open another connection",
                retry_after=1.0,
            )

    def subscribe(self, make: Callable[[str, Send, Callable[[], None]], S], source: Closable) -> S:
        """Return a new subscription, not started yet; raise RateLimited after closing its source.

        `make` gets its name, the function that sends a frame, and one to call when the subscription ends.
        """
        try:
            self.check_subscription_limit()
        except errors.RpcError:
            source.close()
            raise
        self._last_subscription += 1
        name = f"s{self._last_subscription}"

        def forget() -> None:
            self.subscriptions.pop(name, None)

        subscription = make(name, self._notify, forget)
        subscription.failed = self._subscription_failed
        self.subscriptions[name] = subscription
        return subscription

    async def unsubscribe(self, name: str, kind: type[Subscription]) -> None:
        """Return once it sends nothing more; raise SubscriptionNotFound, also for a subscription of another kind."""
        subscription = self.subscriptions.get(name)
        if not isinstance(subscription, kind):
            raise errors.SubscriptionNotFound(f"this connection has no such subscription: {name[:80]!r}")
        await subscription.stop()

    async def _notify(self, parts: Sequence[bytes], text: bool) -> None:
        """Send a frame of a subscription: one when the socket takes more, so that an answer waits for one at most."""
        if not self._notify_lock.locked() and self._connection.write_frame(parts, text):
            return
        async with self._notify_lock:
            while not self._connection.write_frame(parts, text):
                await self._connection.raise_closed()
                await self._connection.drained()

    def hide(self, job: JobSummary) -> None:
        """End the subscriptions that show a job which the caller may no longer see, and the connection with them.

        The caller subscribes again over a new one, and is refused what it may not see.
        """
        hidden = [subscription for subscription in self.subscriptions.values() if subscription.hides(job)]
        for subscription in hidden:
            subscription.cancel()
        if hidden:
            self._subscription_failed()

    def _subscription_failed(self) -> None:
        """Close the connection: the caller would wait for ever, and over a new one it continues."""
        self._tasks.spawn(self._connection.close(CLOSE_INTERNAL, "a subscription failed"))

    async def _stop_subscriptions(self) -> None:
        for subscription in list(self.subscriptions.values()):
            await subscription.stop()
