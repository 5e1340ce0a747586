"""A connection to an agent: open it, call, read, route notifications to inboxes, reconnect."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from jobworker import errors
from jobworker.client import handshake, trace, wire
from jobworker.client.endpoint import Endpoint
from jobworker.client.inbox import Inbox, Notification
from jobworker.client.trust import tls_context
from jobworker.protocol import BINARY_SUBPROTOCOL, split_binary

MAX_BACKLOG = 4 << 20  # bytes that may wait for a consumer before its subscription is paused


class Connection:
    """The WebSocket to an agent, and the one after it when it is lost.

    `report` is called with a sentence when the connection is lost and when it is back.
    """

    def __init__(
        self, find: Callable[[], Endpoint], report: Callable[[str], None], timeout: float | None = None
    ) -> None:
        # Blocking: it may start a local agent. Called again for each reconnect, since the address may have changed.
        self._find = find
        self.report = report
        # Seconds for an answer; None: as long as the agent answers pings.
        self.timeout = timeout
        # The newest connection, also after it was lost: its close code shows whether the agent was shut down.
        self._websocket: ClientConnection | None = None
        # Reads the newest connection; done when that is lost.
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        # Calls without an answer yet, by the id of the request.
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        # Subscriptions of this connection, by the name that the agent gave them.
        self._inboxes: dict[str, Inbox] = {}
        # Calls that were given up, by id: the method that ends what such a call may have begun.
        self._abandoned: dict[int, str] = {}
        # Requests on their way whose answers are not waited for.
        self._sending: set[asyncio.Task[None]] = set()
        # Why the agent is no longer listened to: it has sent rubbish.
        self._fault: errors.BadAnswer | None = None
        # Names of the subscriptions that are being paused, by the id of the request that ends each.
        self._pausing: dict[int, str] = {}
        # Several consumers notice a lost connection at once; one of them reconnects.
        self._reconnecting = asyncio.Lock()
        self._patience = wire.Patience()
        self._closing = False

    @property
    def agent_shut_down(self) -> bool:
        """Whether the agent closed the last connection because it was shut down."""
        return self._websocket is not None and self._websocket.close_code == wire.GOING_AWAY

    async def closed(self) -> None:
        """Return when the agent has closed the connection."""
        if self._websocket is not None:
            await self._websocket.wait_closed()

    async def close(self) -> None:
        self._closing = True
        if self._websocket is not None:
            # websockets aborts the transport of a lost connection; asyncio fails if that was closed with bytes left
            # to write, as after a message that the agent refused.
            with contextlib.suppress(AttributeError):
                await self._websocket.close()
        tasks = [*self._sending] if self._reader is None else [self._reader, *self._sending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def open(self) -> None:
        """Connect to the agent and start reading; raise ConnectionFailed or Unauthenticated."""
        self._closing = False
        endpoint = await asyncio.to_thread(self._find)
        address = handshake.usable_address(endpoint)
        path = handshake.unix_path(address)
        place: dict[str, Any] = {"unix": True, "path": path} if path else {"ssl": tls_context(endpoint)}
        try:
            self._websocket = await _NoRedirect(
                handshake.UNIX_URL if path else address,
                **place,
                subprotocols=[Subprotocol(name) for name in handshake.SUBPROTOCOLS],
                additional_headers=handshake.headers(endpoint),
                compression=None,
                max_size=None,
                open_timeout=handshake.OPEN_SECONDS,
                close_timeout=2,
                proxy=None,
            )
        except (OSError, WebSocketException, TimeoutError) as error:
            raise handshake.describe_failure(endpoint, error) from None
        self._patience.opened(asyncio.get_running_loop().time())
        self._reader = asyncio.create_task(self._read(self._websocket))

    async def reconnect(self) -> None:
        """Return when there is a connection again; raise ConnectionFailed after a minute.

        The minute is for all attempts since the agent last sent something. Raises MessageRefused or Unauthenticated
        if the agent has closed the connection for good.
        """
        async with self._reconnecting:
            if self._closing:
                raise errors.ConnectionFailed("the client is closed")
            if self._reader is not None and not self._reader.done():
                return
            if (refusal := self._refusal()) is not None:
                raise refusal
            now = asyncio.get_running_loop().time
            self._patience.lost(now())
            self.report("connection lost; trying again")
            while True:
                await asyncio.sleep(self._patience.pause())
                try:
                    await self.open()
                    self.report("connected again")
                    return
                except (errors.ConnectionFailed, errors.StartError):
                    if self._patience.over(now()):
                        raise

    def _refusal(self) -> errors.JobworkerError | None:
        """Return the error to raise if the last connection was closed for good."""
        if self._fault is not None:
            return self._fault
        if self._websocket is None or self._websocket.close_code is None:
            return None
        return wire.refusal(self._websocket.close_code, self._websocket.close_reason or "")

    async def _read(self, websocket: ClientConnection) -> None:
        try:
            async for frame in websocket:
                self._patience.worked()
                if trace.report is not None:
                    trace.report("received", frame)
                with wire.reading("a message"):
                    await self._take(frame)
        except ConnectionClosed:
            pass
        except errors.BadAnswer as error:
            self._fault = error
            websocket.transport.abort()
        finally:
            self._abandoned.clear()
            self._pausing.clear()
            for future in self._waiting.values():
                if not future.done():
                    lost_before = errors.ConnectionFailed("the connection was lost before the answer came")
                    future.set_exception(self._refusal() or lost_before)
            self._waiting.clear()
            lost, self._inboxes = self._inboxes, {}
            for inbox in lost.values():
                inbox.mark_lost()

    async def _take(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            header, data = split_binary(frame)
            self._deliver("log.data", msgspec.json.decode(header) | {"bytes": data})
            return
        message = msgspec.json.decode(frame)
        for item in message if isinstance(message, list) else [message]:
            await self._handle(item)

    async def _handle(self, message: dict[str, Any]) -> None:
        if "method" in message:
            self._deliver(message["method"], message["params"])
            return
        number = message.get("id", 0)
        if (name := self._pausing.pop(number, None)) is not None:
            if "error" not in message and (inbox := self._inboxes.pop(name, None)) is not None:
                inbox.mark_lost()
            return
        if (unsubscribe := self._abandoned.pop(number, None)) is not None:
            self._end(unsubscribe, wire.subscription(message))
            return
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(message)
            await asyncio.sleep(0)  # the caller of log.subscribe routes its inbox before the first notification

    def _deliver(self, method: str, params: dict[str, Any]) -> None:
        name = params.get("subscription", "")  # a newer agent may have notifications without one
        inbox = self._inboxes.get(name)
        if inbox is None:
            return
        inbox.put((method, params))
        if method == "log.end":
            del self._inboxes[name]
        elif inbox.size > MAX_BACKLOG and name not in self._pausing.values():
            self._pause(name, inbox)

    def _pause(self, name: str, inbox: Inbox) -> None:
        """End a subscription whose consumer is slow or reads another first: it continues later, by offset.

        The reading goes on, since calls and other consumers wait for what follows. No notification comes after the
        answer; what comes before it is kept, since a job that waits for its readers may drop what was sent.
        """
        if (number := self._end(inbox.unsubscribe, name)) is not None:
            self._pausing[number] = name

    async def call(self, method: str, **params: Any) -> Any:
        """Call any method and return its result as plain data; raise RpcError or ConnectionFailed."""
        if self._websocket is None or self._reader is None or self._reader.done():
            raise self._refusal() or errors.ConnectionFailed("there is no connection to the agent")
        number = next(self._ids)
        message = wire.encode(wire.request(number, method, params))
        wire.require_size(message, method)
        return await self._exchange(self._websocket, number, method, message, text=True)

    async def send(self, method: str, data: bytes, **params: Any) -> Any:
        """Call a method with data, which goes as it is if the agent takes binary frames; else like `call`."""
        if self._websocket is None or self._reader is None or self._reader.done():
            raise self._refusal() or errors.ConnectionFailed("there is no connection to the agent")
        number = next(self._ids)
        binary = self._websocket.subprotocol == BINARY_SUBPROTOCOL
        message = wire.frame(number, method, params, data, binary=binary)
        return await self._exchange(self._websocket, number, method, message, text=not binary)

    async def _exchange(
        self, websocket: ClientConnection, number: int, method: str, message: bytes, *, text: bool
    ) -> Any:
        """Send a request and return the result of its answer."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(self.timeout):
                if trace.report is not None:
                    trace.report("sent", message.decode(errors="replace") if text else message)
                await websocket.send(message, text=text)
                answer = await future
        except (asyncio.CancelledError, TimeoutError) as error:
            self._abandon(number, method, future)
            if isinstance(error, TimeoutError):
                raise errors.AnswerTimeout(f"{method}: no answer within {self.timeout:g} s") from None
            raise
        except ConnectionClosed:
            if not future.cancel():
                future.exception()  # the reader set it first; retrieve it, or asyncio logs it as never retrieved
            lost = errors.ConnectionFailed("the connection was lost before the request was sent")
            raise self._refusal() or lost from None
        finally:
            self._waiting.pop(number, None)  # also if the call was cancelled
        return wire.result(answer, method)

    def _abandon(self, number: int, method: str, future: asyncio.Future[dict[str, Any]]) -> None:
        """End what a call has begun whose caller waits no longer: now, or when its answer comes."""
        unsubscribe = wire.UNSUBSCRIBE.get(method)
        if unsubscribe is None:
            return
        if future.cancelled() or not future.done():
            self._abandoned[number] = unsubscribe
        elif future.exception() is None:
            self._end(unsubscribe, wire.subscription(future.result()))

    def _end(self, unsubscribe: str, name: str | None) -> int | None:
        """End a subscription, without a wait for the answer; return the id of the request, None without one."""
        lost = self._websocket is None or self._reader is None or self._reader.done()
        if lost or self._closing or name is None:
            return None
        number = next(self._ids)
        message = wire.encode(wire.request(number, unsubscribe, {"subscription": name}))
        assert self._websocket is not None
        task = asyncio.create_task(_send(self._websocket, message))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return number

    def route(self, subscription: str, inbox: Inbox) -> None:
        """Deliver the notifications of a subscription to this inbox."""
        self._inboxes[subscription] = inbox

    def drop(self, inbox: Inbox) -> None:
        """End the subscription of a consumer that has stopped; a further loop of it subscribes again."""
        for name in self.unroute(inbox):
            inbox.mark_lost()
            self._end(inbox.unsubscribe, name)

    def unroute(self, inbox: Inbox) -> list[str]:
        """Discard what still comes for an inbox; return the names of its subscriptions, one at most."""
        names = [name for name, routed in self._inboxes.items() if routed is inbox]
        for name in names:
            del self._inboxes[name]
        return names

    async def next(self, inbox: Inbox, subscribe: Callable[[], Awaitable[None]]) -> Notification | None:
        """Return the next notification, None from a closed inbox; after a loss call `subscribe` first.

        Raises what `reconnect` raises.
        """
        while True:
            notification = await inbox.take()
            if notification is not None or inbox.closed:
                return notification
            try:
                await self._resume(subscribe)
            except BaseException:
                inbox.mark_lost()  # a further loop subscribes again
                raise

    async def _resume(self, subscribe: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.reconnect()
            try:
                await subscribe()
                return
            except errors.ConnectionFailed:
                continue


async def _send(websocket: ClientConnection, message: bytes) -> None:
    with contextlib.suppress(ConnectionClosed):
        await websocket.send(message, text=True)


class _NoRedirect(websocket_connect):
    """Follows no redirect: an agent never sends one, and a token is for the address it was given for."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc
