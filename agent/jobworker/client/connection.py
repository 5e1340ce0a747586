"""A connection to an agent: open it, call, read, route notifications to inboxes, reconnect."""

import asyncio
import base64
import itertools
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from jobworker import errors
from jobworker.client.endpoint import Endpoint
from jobworker.client.inbox import Inbox, Notification
from jobworker.client.trust import PinMismatch, tls_context
from jobworker.protocol import BINARY_SUBPROTOCOL, SUBPROTOCOL, split_binary
from jobworker.untrusted import explain_refusal

MAX_BACKLOG = 64  # notifications that may wait for a consumer before reading stops
RECONNECT_SECONDS = 60.0  # how long a lost connection is tried again
MAX_PAUSE_SECONDS = 2.0  # between two attempts to reconnect
GOING_AWAY = 1001  # close code


class Connection:
    """The WebSocket to an agent, and the one after it when it is lost.

    `report` is called with a sentence when the connection is lost and when it is back.
    """

    def __init__(self, find: Callable[[], Endpoint], report: Callable[[str], None]) -> None:
        # Blocking: it may start a local agent. Called again for each reconnect, since the address may have changed.
        self._find = find
        self.report = report
        # The newest connection, also after it was lost: its close code shows whether the agent was shut down.
        self._websocket: ClientConnection | None = None
        # Reads the newest connection; done when that is lost.
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        # Calls without an answer yet, by the id of the request.
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        # Subscriptions of this connection, by the name that the agent gave them.
        self._inboxes: dict[str, Inbox] = {}
        # Set when the reader may go on: an inbox was read or dropped, or a call waits.
        self._room = asyncio.Event()
        # Several consumers notice a lost connection at once; one of them reconnects.
        self._reconnecting = asyncio.Lock()
        self._closing = False

    @property
    def agent_shut_down(self) -> bool:
        """Whether the agent closed the last connection because it was shut down."""
        return self._websocket is not None and self._websocket.close_code == GOING_AWAY

    async def closed(self) -> None:
        """Return when the agent has closed the connection."""
        if self._websocket is not None:
            await self._websocket.wait_closed()

    async def close(self) -> None:
        self._closing = True
        if self._websocket is not None:
            self._room.set()
            await self._websocket.close()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def open(self) -> None:
        """Connect to the agent and start reading; raise ConnectionFailed or Unauthenticated."""
        endpoint = await asyncio.to_thread(self._find)
        address = endpoint.address or ""
        if not address.startswith("wss://"):
            raise errors.ConnectionFailed(f"address: {endpoint.address!r}; expected wss://HOST:PORT/rpc")
        context = tls_context(endpoint)
        try:
            self._websocket = await _NoRedirect(
                address,
                ssl=context,
                subprotocols=[Subprotocol(BINARY_SUBPROTOCOL), Subprotocol(SUBPROTOCOL)],
                additional_headers=_authorization(endpoint),
                compression=None,
                max_size=None,
                open_timeout=20,
                close_timeout=2,
                proxy=None,
            )
        except (OSError, WebSocketException, TimeoutError) as error:
            raise _describe_failure(endpoint, error) from None
        self._reader = asyncio.create_task(self._read(self._websocket))

    async def reconnect(self) -> None:
        """Return when there is a connection again; raise ConnectionFailed after a minute."""
        async with self._reconnecting:
            if self._reader is not None and not self._reader.done():
                return
            self.report("connection lost; trying again")
            pause, deadline = 0.05, asyncio.get_running_loop().time() + RECONNECT_SECONDS
            while True:
                try:
                    await self.open()
                    self.report("connected again")
                    return
                except (errors.ConnectionFailed, errors.StartError):
                    if asyncio.get_running_loop().time() > deadline:
                        raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def _read(self, websocket: ClientConnection) -> None:
        try:
            async for frame in websocket:
                if isinstance(frame, bytes):
                    header, data = split_binary(frame)
                    await self._deliver("log.data", msgspec.json.decode(header) | {"bytes": data})
                    continue
                message = msgspec.json.decode(frame)
                for item in message if isinstance(message, list) else [message]:
                    await self._handle(item)
        except ConnectionClosed:
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(errors.ConnectionFailed("the connection was lost before the answer came"))
            self._waiting.clear()
            lost, self._inboxes = self._inboxes, {}
            for inbox in lost.values():
                inbox.mark_lost()

    async def _handle(self, message: dict[str, Any]) -> None:
        if "method" in message:
            await self._deliver(message["method"], message["params"])
            return
        future = self._waiting.pop(message.get("id", 0), None)
        if future is not None and not future.done():
            future.set_result(message)
            await asyncio.sleep(0)  # the caller of log.subscribe routes its inbox before the first notification

    async def _deliver(self, method: str, params: dict[str, Any]) -> None:
        name = params["subscription"]
        inbox = self._inboxes.get(name)
        if inbox is None:
            return
        inbox.put((method, params))
        if method == "log.end":
            del self._inboxes[name]
        # A slow consumer stops the reading, so that memory stays bounded; but not while a call waits for its answer.
        while len(inbox) > MAX_BACKLOG and name in self._inboxes and not (self._waiting or self._closing):
            self._room.clear()
            await self._room.wait()

    async def call(self, method: str, **params: Any) -> Any:
        """Call any method and return its result as plain data; raise RpcError or ConnectionFailed."""
        if self._websocket is None or self._reader is None or self._reader.done():
            raise errors.ConnectionFailed("there is no connection to the agent")
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._room.set()
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        try:
            await self._websocket.send(msgspec.json.encode(request), text=True)
            answer = await future
        except ConnectionClosed:
            if not future.cancel():
                future.exception()  # the reader set it first; retrieve it, or asyncio logs it as never retrieved
            raise errors.ConnectionFailed("the connection was lost before the request was sent") from None
        finally:
            self._waiting.pop(number, None)  # also if the call was cancelled: it must not keep the reader going
        if "error" in answer:
            raise errors.from_payload(answer["error"])
        return answer["result"]

    def route(self, subscription: str, inbox: Inbox) -> None:
        """Deliver the notifications of a subscription to this inbox."""
        self._inboxes[subscription] = inbox

    def drop(self, inbox: Inbox) -> None:
        """Discard what still comes for an inbox whose consumer has stopped; the reader waits for it no longer."""
        self._inboxes = {name: routed for name, routed in self._inboxes.items() if routed is not inbox}
        self._room.set()

    async def next(self, inbox: Inbox, subscribe: Callable[[], Awaitable[None]]) -> Notification:
        """Return the next notification; after a lost connection call `subscribe` over a new one first.

        Raises ConnectionFailed if there is no new one within RECONNECT_SECONDS.
        """
        while True:
            notification = await inbox.take()
            self._room.set()
            if notification is not None:
                return notification
            await self._resume(subscribe)

    async def _resume(self, subscribe: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self.reconnect()
            try:
                await subscribe()
                return
            except errors.ConnectionFailed:
                continue


class _NoRedirect(websocket_connect):
    """Follows no redirect: an agent never sends one, and a token is for the address it was given for."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


def _describe_failure(endpoint: Endpoint, error: Exception) -> errors.JobworkerError:
    """Return the error to raise if no connection came about: what failed, and what to do next."""
    address = endpoint.address
    if isinstance(error, InvalidStatus):
        text = (error.response.body or b"").decode(errors="replace").strip()
        status = error.response.status_code
        if status in (401, 403):
            hint = "is the token right?" if endpoint.token else ""
            return errors.Unauthenticated(f"{address} refused: {text}", hint=hint)
        return errors.ConnectionFailed(f"{address} answered {status}: {text}")
    if isinstance(error, ssl.SSLCertVerificationError):
        usual = error.verify_message, "give its CA with --ca or JW_CA, or its fingerprint with --pin or JW_PIN"
        reason, hint = explain_refusal(error, endpoint.ca) or usual
        return errors.ConnectionFailed(f"{address} is not trusted: {reason}", hint=hint)
    if isinstance(error, PinMismatch):
        return errors.ConnectionFailed(
            f"{address} is not trusted: its certificate is {error.shown}, the pinned one {endpoint.pin}",
            hint="if it was renewed, pin the new one (on its host: jw agent info); "
            "if it was not, another server answers at this address",
        )
    reason = str(error) or type(error).__name__
    hint = "does the agent trust the CA of the client certificate? Its log has the reason" if endpoint.cert else ""
    return errors.ConnectionFailed(f"{address} cannot be reached: {reason}", hint=hint)


def _authorization(endpoint: Endpoint) -> dict[str, str]:
    if endpoint.token:
        return {"Authorization": f"Bearer {endpoint.token}"}
    if endpoint.username is None:
        return {}
    pair = base64.b64encode(f"{endpoint.username}:{endpoint.password or ''}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}
