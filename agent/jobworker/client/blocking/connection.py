"""The connection of the blocking client: calls, notifications by subscription, a new connection after a loss."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from jobworker import errors
from jobworker.client import wire
from jobworker.client.blocking.channel import Channel, ChannelLost
from jobworker.client.blocking.inbox import Inbox, Notification
from jobworker.client.endpoint import Endpoint
from jobworker.protocol import split_binary

MAX_BACKLOG = 64  # notifications that may wait for a consumer before its subscription is paused
MAX_IN_FLIGHT = 32  # calls that wait for an answer at once: the agent reads no more of a connection


class AnswerLost(errors.ConnectionFailed):
    """The connection was lost under a call, which the agent may have carried out."""


class Connection:
    """The channel to an agent, and the one after it when it is lost. For one thread at a time."""

    def __init__(
        self, find: Callable[[], Endpoint], report: Callable[[str], None], timeout: float | None = None
    ) -> None:
        # May start a local agent. Called again for each reconnect, since the address may have changed.
        self._find = find
        self.report = report
        # Seconds for an answer; None: as long as the agent shows that it is there.
        self.timeout = timeout
        # The newest channel, also after it was lost: its close code shows whether the agent was shut down.
        self._channel: Channel | None = None
        self._ids = itertools.count(1)
        # Subscriptions of this channel, by the name that the agent gave them.
        self._inboxes: dict[str, Inbox] = {}
        self._patience = wire.Patience()
        # Calls that were given up, by id: the method that ends what such a call may have begun.
        self._abandoned: dict[int, str] = {}
        # Calls that no caller waits for, by id: what is called with the answer, or with None if it is lost.
        self._posted: dict[int, Callable[[dict[str, Any] | None], None]] = {}
        # Names of the subscriptions that are being paused.
        self._pausing: set[str] = set()
        # What waits for the socket in place of the socket's own timeout: see `Channel.wait`.
        self.wait: Callable[[int, float], bool] | None = None
        # Why the agent is no longer listened to: it has sent rubbish.
        self._fault: errors.BadAnswer | None = None
        # Held while a thread uses the channel: another one would take its answers.
        self._in_use = threading.Lock()
        self._closed = False

    @property
    def agent_shut_down(self) -> bool:
        """Whether the agent closed the last channel because it was shut down."""
        return self._channel is not None and self._channel.close_code == wire.GOING_AWAY

    @property
    def lost(self) -> bool:
        """Whether there is no connection, as far as that is known."""
        return self._channel is None or self._channel.lost

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("another thread uses this client; expected one client for each thread")
        try:
            yield
        finally:
            self._in_use.release()

    def open(self) -> None:
        """Connect to the agent; raise ConnectionFailed or Unauthenticated."""
        self._channel = Channel(self._find())
        self._channel.wait = self.wait
        self._closed = False
        self._patience.opened(time.monotonic())

    def abort(self) -> None:
        """Close without waiting for the agent."""
        self._closed = True
        if self._channel is not None:
            self._channel.abort()

    def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            self._channel.close()

    def wait_closed(self) -> None:
        """Return when the agent has closed the connection."""
        with self._alone():
            while self._channel is not None and not self._channel.lost:
                self._read_more()

    def reconnect(self) -> None:
        """Return when there is a connection again; raise ConnectionFailed after a minute.

        The minute is for all attempts since the agent last sent something. Raises MessageRefused or Unauthenticated
        if the agent has closed the connection for good.
        """
        if self._closed:
            raise errors.ConnectionFailed("the client is closed")
        if self._channel is not None and not self._channel.lost:
            return
        if (refusal := self._refusal()) is not None:
            raise refusal
        self._patience.lost(time.monotonic())
        self.report("connection lost; trying again")
        while True:
            time.sleep(self._patience.pause())
            try:
                self.open()
                self.report("connected again")
                return
            except (errors.ConnectionFailed, errors.StartError):
                if self._patience.over(time.monotonic()):
                    raise

    def call(self, method: str, **params: Any) -> Any:
        """Call any method and return its result as plain data; raise RpcError or ConnectionFailed.

        A connection that was lost since the last call is replaced before this one is sent.
        """
        ((_, result),) = self.call_all([(method, params)])
        if isinstance(result, errors.RpcError):
            raise result
        return result

    def send(self, method: str, data: bytes, **params: Any) -> Any:
        """Call a method with data, which goes as it is if the agent takes binary frames; else like `call`."""
        number = next(self._ids)
        with self._alone():
            channel = self._usable()
            try:
                channel.send(wire.frame(number, method, params, data, binary=channel.binary), text=not channel.binary)
                return wire.result(self._answer(channel, {number}, method), method)
            except ChannelLost:
                self._note_loss()
                lost = AnswerLost("the connection was lost before the answer came")
                raise self._refusal() or lost from None

    def call_all(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[tuple[int, Any]]:
        """Make calls at once; yield the index of each with its result, or its RpcError, when that comes."""
        requests = iter([self._request(method, params) for method, params in calls])
        sent: dict[int, int] = {}  # the index of a call, by the id of its request
        with self._alone():
            channel = self._usable()
            try:
                for index in range(len(calls)):
                    for number, message in islice(requests, MAX_IN_FLIGHT - len(sent)):
                        sent[number] = len(sent) + index
                        channel.send(message)
                    answer = self._answer(channel, sent, calls[0][0])
                    done = sent.pop(answer["id"])
                    yield done, wire.outcome(answer, calls[done][0])
            except ChannelLost:
                self._note_loss()
                lost = AnswerLost("the connection was lost before the answer came")
                raise self._refusal() or lost from None
            finally:  # also after Ctrl-C, or if the time is over
                methods = {number: wire.UNSUBSCRIBE.get(calls[index][0]) for number, index in sent.items()}
                self._abandoned |= {number: method for number, method in methods.items() if method}

    def post(self, answered: Callable[[dict[str, Any] | None], None], method: str, **params: Any) -> None:
        """Send a call and go on; `answered` gets its answer, None if that is lost. Raises ChannelLost.

        It may be made while another call waits for its answer, by what waits for the socket.
        """
        channel = self._channel
        if channel is None:
            raise ChannelLost
        number, message = self._request(method, params)
        channel.send(message)
        self._posted[number] = answered

    def take_ready(self) -> None:
        """Take what has come, without a wait: for a consumer that is busy for long. A loss is noticed later."""
        try:
            while self._channel is not None and (message := self._channel.receive(0)) is not None:
                self._take(message)
        except (ChannelLost, errors.BadAnswer):
            pass  # the next read raises it, or finds it

    def _request(self, method: str, params: dict[str, Any]) -> tuple[int, bytes]:
        """Return the id and the text of a request; raise MessageRefused if it is too large."""
        number = next(self._ids)
        message = wire.encode(wire.request(number, method, params))
        wire.require_size(message, method)
        return number, message

    def _usable(self) -> Channel:
        """Return a channel that is not lost, as far as that is known."""
        if self._channel is not None:
            try:
                while (message := self._channel.receive(0)) is not None:
                    self._take(message)
            except ChannelLost:
                self._note_loss()
        self.reconnect()
        assert self._channel is not None
        return self._channel

    def _answer(self, channel: Channel, numbers: Container[int], method: str) -> dict[str, Any]:
        """Return the next answer to one of these requests; keep the notifications that come before it."""
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            message = channel.receive(left)
            if message is None:
                raise errors.AnswerTimeout(f"{method}: no answer within {self.timeout:g} s")
            for answer in self._take(message):
                if answer.get("id") in numbers:
                    return answer

    def _take(self, message: str | bytes) -> list[dict[str, Any]]:
        """Return the answers in a message; its notifications go to their inboxes. Raises BadAnswer, for good."""
        self._patience.worked()
        try:
            with wire.reading("a message"):
                return self._sorted(message)
        except errors.BadAnswer as error:
            self._fault = error
            if self._channel is not None:
                self._channel.abort()
            raise

    def _sorted(self, message: str | bytes) -> list[dict[str, Any]]:
        if isinstance(message, bytes):
            header, data = split_binary(message)
            self._deliver("log.data", json.loads(header) | {"bytes": data})
            return []
        decoded = json.loads(message)
        items = decoded if isinstance(decoded, list) else [decoded]
        for item in items:
            if "method" in item:
                self._deliver(item["method"], item["params"])
        answers = [item for item in items if "method" not in item]
        for answer in answers:
            if not isinstance(answer.get("id"), int | str | None):
                raise TypeError(f"id: {answer['id']!r}; expected a number")
            if (answered := self._posted.pop(answer.get("id", 0), None)) is not None:
                answered(answer)
            unsubscribe = self._abandoned.pop(answer.get("id", 0), None)
            if unsubscribe and (name := wire.subscription(answer)):
                self._end(unsubscribe, name)
        return answers

    def _deliver(self, method: str, params: dict[str, Any]) -> None:
        name = params.get("subscription", "")  # a newer agent may have notifications without one
        inbox = self._inboxes.get(name)
        if inbox is None:
            return
        inbox.append((method, params))
        if method == "log.end":
            del self._inboxes[name]
        elif len(inbox) > MAX_BACKLOG and name not in self._pausing:
            self._pause(name, inbox)

    def _pause(self, name: str, inbox: Inbox) -> None:
        """End a subscription whose consumer reads another first: it continues later, by offset.

        No notification comes after the answer; what comes before it is kept, since a job that waits for its readers
        may drop what was sent.
        """

        def answered(answer: dict[str, Any] | None) -> None:
            self._pausing.discard(name)
            if answer is not None and "error" not in answer and self._inboxes.pop(name, None) is not None:
                inbox.append(None)

        self.post(answered, inbox.unsubscribe, subscription=name)
        self._pausing.add(name)

    def _break_off(self, name: str) -> None:
        """End a subscription; mark that in its inbox, after what has arrived."""
        inbox = self._inboxes.pop(name)
        inbox.append(None)
        self._end(inbox.unsubscribe, name)

    def _end(self, unsubscribe: str, name: str) -> None:
        """End a subscription; its answer is discarded."""
        assert self._channel is not None
        self._channel.send(wire.encode(wire.request(next(self._ids), unsubscribe, {"subscription": name})))

    def _note_loss(self) -> None:
        self._abandoned.clear()
        posted, self._posted = self._posted, {}
        for answered in posted.values():
            answered(None)
        lost, self._inboxes = self._inboxes, {}
        for inbox in lost.values():
            inbox.append(None)

    def _refusal(self) -> errors.JobworkerError | None:
        """Return the error to raise if the last channel was closed for good."""
        if self._fault is not None:
            return self._fault
        if self._channel is None:
            return None
        return wire.refusal(self._channel.close_code, self._channel.close_reason)

    def route(self, subscription: str, inbox: Inbox) -> None:
        """Deliver the notifications of a subscription to this inbox."""
        self._inboxes[subscription] = inbox

    def unroute(self, inbox: Inbox) -> list[str]:
        """Discard what still comes for an inbox; return the names of its subscriptions, one at most."""
        names = [name for name, routed in self._inboxes.items() if routed is inbox]
        for name in names:
            del self._inboxes[name]
        return names

    def drop(self, inbox: Inbox) -> None:
        """End the subscription of a consumer that has stopped; a further loop of it subscribes again."""
        for name in [name for name, routed in self._inboxes.items() if routed is inbox]:
            if self._channel is None or self._channel.lost or self._in_use.locked():
                del self._inboxes[name]
                continue
            try:
                self._break_off(name)
            except ChannelLost:
                self._note_loss()

    def next(self, inbox: Inbox, subscribe: Callable[[], None]) -> Notification | None:
        """Return the next notification, None from a closed inbox; after a loss call `subscribe` first.

        Raises what `reconnect` raises.
        """
        while True:
            with self._alone():
                while not inbox:
                    self._read_more()
                notification = inbox.popleft()
            if notification is not None or inbox.closed:
                return notification
            try:
                subscribe()
            except BaseException as error:
                inbox.append(None)  # a further loop subscribes again, after a lost answer this one
                if not isinstance(error, AnswerLost):
                    raise

    def _read_more(self) -> None:
        """Wait for a message and take it; note a loss."""
        assert self._channel is not None
        try:
            message = self._channel.receive(None)
            if message is not None:
                self._take(message)
        except ChannelLost:
            self._note_loss()
