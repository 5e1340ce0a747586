"""A connection to an agent: calls, subscriptions, and reconnecting without a missing or double byte."""

import asyncio
import base64
import itertools
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from jobworker import errors
from jobworker.client.events import Events
from jobworker.client.feed import Feed
from jobworker.client.local import Target, ensure_local_agent
from jobworker.client.subscription import LogPage, Subscription
from jobworker.client.trust import PinMismatch, tls_context
from jobworker.model import Duration, Explanation, Job, JobSpec, Principal, Stats, StopSpec
from jobworker.paths import Home, default_home
from jobworker.protocol import BINARY_SUBPROTOCOL, SUBPROTOCOL, split_binary
from jobworker.untrusted import explain_refusal

BACKLOG = 64  # notifications that may wait for a consumer before the connection is read no further
PATIENCE = 60.0  # seconds for which a lost connection is tried again
LONGEST_PAUSE = 2.0
GOING_AWAY = 1001  # close code


def connect(
    address: str | None = None,
    *,
    token: str | None = None,
    ca: Path | None = None,
    lost: Callable[[str], None] = lambda text: None,
    cert: Path | None = None,
    key: Path | None = None,
    pin: str | None = None,
    insecure: bool = False,
    username: str | None = None,
    password: str | None = None,
) -> "Client":
    """Return a client to be used with ``async with``; without an address, of the local agent.

    `ca` is a PEM file with the only CA to trust (None: the system's). `cert` and `key` are a client certificate and
    its key in PEM, one file where there is no `key`. `pin` is the fingerprint of the only certificate to trust, as
    "sha256:…"; with `insecure` anybody who answers is trusted, and is given the token. `username` and `password` may
    stand in its place. `lost` is told, in words, when a connection is lost and when it is back, and of bytes that a
    log does not hold.
    Raises ConnectionFailed and Unauthenticated on entering.
    """
    if address is None:
        home = Home(default_home())
        return Client(lambda: ensure_local_agent(home), lost)
    target = Target(address, token, ca, cert, key, pin, insecure, username, password)
    return Client(lambda: target, lost)


class Client:
    """All methods raise RpcError for an answer with an error and ConnectionFailed where none comes."""

    def __init__(self, find: Callable[[], Target], lost: Callable[[str], None] = lambda text: None) -> None:
        self._find = find
        self.say = lost
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._subscriptions: dict[str, Feed] = {}
        self._room = asyncio.Event()
        self._reconnecting = asyncio.Lock()
        self._closing = False

    async def __aenter__(self) -> "Client":
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def sent_away(self) -> bool:
        """Whether the agent closed the last connection because it was told to end."""
        return self._connection is not None and self._connection.close_code == GOING_AWAY

    async def closed(self) -> None:
        """Return when the agent has closed the connection."""
        if self._connection is not None:
            await self._connection.wait_closed()

    async def close(self) -> None:
        self._closing = True
        if self._connection is not None:
            self._room.set()
            await self._connection.close()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _open(self) -> None:
        target = await asyncio.to_thread(self._find)
        if not target.address.startswith("wss://"):
            raise errors.ConnectionFailed(f"address: {target.address!r}; expected wss://HOST:PORT/rpc")
        context, headers = tls_context(target), _authorization(target)
        try:
            self._connection = await _Door(
                target.address,
                ssl=context,
                subprotocols=[Subprotocol(BINARY_SUBPROTOCOL), Subprotocol(SUBPROTOCOL)],
                additional_headers=headers,
                compression=None,
                max_size=None,
                open_timeout=20,
                close_timeout=2,
                proxy=None,
            )
        except InvalidStatus as error:
            said = (error.response.body or b"").decode(errors="replace").strip()
            status = error.response.status_code
            if status in (401, 403):
                hint = "is the token right?" if target.token else ""
                raise errors.Unauthenticated(f"{target.address} refused: {said}", hint=hint) from None
            raise errors.ConnectionFailed(f"{target.address} answered {status}: {said}") from None
        except ssl.SSLCertVerificationError as error:
            usual = error.verify_message, "give its CA with --ca or JW_CA, or its fingerprint with --pin or JW_PIN"
            reason, hint = explain_refusal(error, target.ca) or usual
            raise errors.ConnectionFailed(f"{target.address} is not trusted: {reason}", hint=hint) from None
        except PinMismatch as error:
            raise errors.ConnectionFailed(
                f"{target.address} is not trusted: its certificate is {error.shown}, the pinned one {target.pin}",
                hint="if it was renewed, pin the new one (on its host: jw agent info); else somebody is in between",
            ) from None
        except (OSError, WebSocketException, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            hint = "is the client certificate of a CA that the agent takes? Its log says" if target.cert else ""
            raise errors.ConnectionFailed(f"{target.address} cannot be reached: {reason}", hint=hint) from None
        self._reader = asyncio.create_task(self._read(self._connection))

    async def reconnect(self) -> None:
        """Return when there is a connection again; raise ConnectionFailed after a minute."""
        async with self._reconnecting:
            if self._reader is not None and not self._reader.done():
                return
            self.say("connection lost; trying again")
            pause, deadline = 0.05, asyncio.get_running_loop().time() + PATIENCE
            while True:
                try:
                    await self._open()
                    self.say("connected again")
                    return
                except (errors.ConnectionFailed, errors.StartError):
                    if asyncio.get_running_loop().time() > deadline:
                        raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for frame in connection:
                if isinstance(frame, bytes):
                    header, data = split_binary(frame)
                    await self._notified("log.data", msgspec.json.decode(header) | {"bytes": data})
                    continue
                message = msgspec.json.decode(frame)
                for item in message if isinstance(message, list) else [message]:
                    await self._take(item)
        except ConnectionClosed:
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(errors.ConnectionFailed("the connection was lost before the answer came"))
            self._waiting.clear()
            lost, self._subscriptions = self._subscriptions, {}
            for subscription in lost.values():
                subscription.cut()

    async def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            future = self._waiting.pop(message.get("id", 0), None)
            if future is not None and not future.done():
                future.set_result(message)
                await asyncio.sleep(0)  # whoever subscribed takes the answer before the first notification
            return
        await self._notified(message["method"], message["params"])

    async def _notified(self, method: str, params: dict[str, Any]) -> None:
        subscription = self._subscriptions.get(params["subscription"])
        if subscription is None:
            return
        subscription.feed(method, params)
        if method == "log.end":
            del self._subscriptions[params["subscription"]]
        # A slow consumer holds up the connection, not memory; but never a call that somebody waits for.
        held = params["subscription"]
        while subscription.backlog > BACKLOG and held in self._subscriptions and not (self._waiting or self._closing):
            self._room.clear()
            await self._room.wait()

    def detach(self, feed: Feed) -> None:
        """Drop what still comes for somebody who has stopped to take it, and hold up nobody else for it."""
        self._subscriptions = {name: one for name, one in self._subscriptions.items() if one is not feed}
        self._room.set()

    def consumed(self) -> None:
        self._room.set()

    async def call(self, method: str, **params: Any) -> Any:
        """Call any method and return its result as plain data."""
        if self._connection is None or self._reader is None or self._reader.done():
            raise errors.ConnectionFailed("there is no connection to the agent")
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._room.set()
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        try:
            await self._connection.send(msgspec.json.encode(request), text=True)
            answer = await future
        except ConnectionClosed:
            if not future.cancel():
                future.exception()  # the reader was the first to know; looked at, so that asyncio says nothing
            raise errors.ConnectionFailed("the connection was lost before the request was sent") from None
        finally:
            self._waiting.pop(number, None)  # also of a call that was given up: it holds up the reading no longer
        if "error" in answer:
            raise errors.from_payload(answer["error"])
        return answer["result"]

    async def attach(self, subscription: Subscription, **how: Any) -> None:
        """Subscribe to a log, and let the notifications reach the subscription."""
        answer = await self.call("log.subscribe", id=subscription.job.id, **how)
        subscription.offset = answer["offset"]
        self._subscriptions[answer["subscription"]] = subscription

    async def attach_events(self, events: Events) -> None:
        """Subscribe after the last revision that was seen."""
        after = {} if events.revision is None else {"from": events.revision}
        answer = await self.call("event.subscribe", **after)
        events.revision = answer["revision"]
        self._subscriptions[answer["subscription"]] = events

    # The verbs, as in the protocol

    async def create(self, spec: JobSpec, key: str | None = None) -> Job:
        return await self._job("job.create", spec=msgspec.to_builtins(spec), **_given(key=key))

    async def start(self, job: str) -> Job:
        return await self._job("job.start", id=job)

    async def run(self, spec: JobSpec, key: str | None = None) -> Subscription:
        """Create, follow from byte 0 and start, in one step."""
        answer = await self.call("job.run", spec=msgspec.to_builtins(spec), **_given(key=key))
        subscription = Subscription(self, msgspec.convert(answer["job"], Job), {})
        self._subscriptions[answer["subscription"]] = subscription
        return subscription

    async def stop(self, job: str, stop: StopSpec | None = None) -> Job:
        how = None if stop is None else msgspec.to_builtins(stop)
        return await self._job("job.stop", id=job, **_given(stop=how))

    async def signal(self, job: str, signal: str, target: str = "all") -> int:
        """Send a signal to the whole tree or to the `main` process; return how many processes got it."""
        return int((await self.call("job.signal", id=job, signal=signal, target=target))["delivered"])

    async def update(self, job: str, **changes: Any) -> Job:
        """Change `timeout`, `idle_timeout`, `timeout_policies`, `labels` or `limits`; None is no limit. Plain data.

        `limits` has the single ones to change, as `{"memory": "2GiB", "pids": None}`. With `force=True` the kernel
        may kill processes of a job that uses more memory than its new limit.
        """
        return await self._job("job.update", id=job, **changes)

    async def pause(self, job: str) -> Job:
        return await self._job("job.pause", id=job)

    async def resume(self, job: str) -> Job:
        return await self._job("job.resume", id=job)

    async def status(self, job: str) -> Job:
        return await self._job("job.status", id=job)

    async def stats(self, job: str, *, processes: bool = False) -> Stats:
        """Return what a job uses now, or had used in the end."""
        return msgspec.convert(await self.call("job.stats", id=job, processes=processes), Stats)

    async def explain(self, job: str) -> Explanation:
        return msgspec.convert(await self.call("job.explain", id=job), Explanation)

    async def wait(self, job: str, limit: Duration | None = None) -> Job:
        return await self._job("job.wait", id=job, **_given(timeout=limit))

    async def list(
        self, states: Sequence[str] | None = None, labels: dict[str, str] | None = None, limit: int = 100
    ) -> list[Job]:
        """Return the newest jobs; a page ends earlier than asked for where its jobs are large."""
        found: list[Job] = []
        cursor: str | None = None
        while len(found) < limit:
            given = _given(states=states, labels=labels, cursor=cursor)
            answer = await self.call("job.list", limit=limit - len(found), **given)
            found += msgspec.convert(answer["jobs"], list[Job])
            if (cursor := answer["next"]) is None:
                break
        return found

    async def delete(self, job: str, *, force: bool = False) -> None:
        await self.call("job.delete", id=job, force=force)

    async def subscribe(
        self,
        job: str,
        offset: int | None = None,
        *,
        tail: int | None = None,
        since: str | Duration | None = None,
        until: str | Duration | None = None,
        streams: Sequence[str] | None = None,
        follow: bool = True,
        arrivals: bool = False,
    ) -> Subscription:
        """Read a log from `offset`, the last `tail` lines, or `since` a time on; all of it where nothing is said.

        Times are texts with their zone, or durations: so long ago. With `arrivals` every chunk is a single
        arrival, with its own time; else what stands together is one.
        """
        how = _given(until=until, streams=streams) | {"follow": follow, "arrivals": arrivals}
        subscription = Subscription(self, await self.status(job), how)
        await self.attach(subscription, **how, **_given(offset=offset, tail=tail, since=since))
        return subscription

    async def read(
        self, job: str, offset: int = 0, max_bytes: int = 65536, streams: Sequence[str] | None = None
    ) -> LogPage:
        """Return one page of a log."""
        given = _given(streams=streams)
        return LogPage.of(await self.call("log.read", id=job, offset=offset, max_bytes=max_bytes, **given))

    async def events(self, after: int | None = None) -> Events:
        """Follow what happens to all jobs after a revision; without one, from now on."""
        events = Events(self, after)
        await self.attach_events(events)
        return events

    async def whoami(self) -> Principal:
        return msgspec.convert(await self.call("auth.whoami"), Principal)

    async def _job(self, method: str, **params: Any) -> Job:
        return msgspec.convert(await self.call(method, **params), Job)


class _Door(websocket_connect):
    """Goes nowhere else: an agent never redirects, and a token is for the address that it was given for."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


def _authorization(target: Target) -> dict[str, str]:
    if target.token:
        return {"Authorization": f"Bearer {target.token}"}
    if target.username is None:
        return {}
    pair = base64.b64encode(f"{target.username}:{target.password or ''}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
