"""One websocket to an agent, which sends what a test gives it, and what a test knows of the answers."""

import asyncio
import contextlib
import itertools
import json
import os
import ssl
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.support.waiting import DEADLINE
from websockets.asyncio.client import ClientConnection

from jobworker.protocol import decode_data, split_binary
from jobworker.testing import RunningAgent


@dataclass
class Log:
    """What came of one subscription."""

    text: dict[str, bytes] = field(default_factory=lambda: {"stdout": b"", "stderr": b""})
    frames: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    end: dict[str, Any] | None = None

    @property
    def stdout(self) -> bytes:
        return self.text["stdout"]

    @property
    def encodings(self) -> list[str]:
        return [frame["encoding"] for frame in self.frames]


class Wire:
    """One websocket: frames go out as they are given; answers are found by id, notifications kept in order."""

    deadline = DEADLINE

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.logs: dict[str, Log] = {}
        self.events: list[dict[str, Any]] = []  # params of job.event and event.gap
        self.order: list[str] = []  # "answer" or the method of a notification, as they came
        self._ids = itertools.count(1)
        self._answers: dict[Any, dict[str, Any]] = {}
        self.strays: list[Any] = []  # arrays, and answers without an id

    async def say(self, message: Any) -> None:
        """Send a text as it is, anything else as JSON."""
        await self.connection.send(message if isinstance(message, str) else json.dumps(message))

    async def hear(self) -> Any:
        """Return the next message; notifications of logs are kept as well."""
        async with asyncio.timeout(self.deadline):
            frame = await self.connection.recv()
        if isinstance(frame, bytes):  # of jobworker.v1.binary
            header, data = split_binary(frame)
            message = {"method": "log.data", "params": json.loads(header) | {"bytes": data}}
        else:
            message = json.loads(frame)
        if isinstance(message, dict) and "method" in message:
            self.order.append(message["method"])
            if message["method"].startswith("log."):
                self._keep(message["method"], message["params"])
            else:
                self.events.append(message["params"])
        else:
            self.order.append("answer")
        return message

    def _keep(self, method: str, params: dict[str, Any]) -> None:
        log = self.logs.setdefault(params["subscription"], Log())
        assert log.end is None, "log.end is the last notification of a subscription"
        if method == "log.end":
            log.end = params
        elif method == "log.gap":
            log.gaps.append((params["from"], params["to"], params["reason"]))
        else:
            data = params["bytes"] if "bytes" in params else decode_data(params["data"], params["encoding"])
            log.frames.append(params | {"bytes": data})
            log.text[params["stream"]] += data

    async def tell(self, message: Any) -> Any:
        """Send one message and return the next that is no notification."""
        await self.say(message)
        while True:
            heard = await self.hear()
            if not (isinstance(heard, dict) and "method" in heard):
                return heard

    async def begin(self, method: str, **params: Any) -> int:
        """Send a request and return its id, for `answer`."""
        number = next(self._ids)
        await self.say({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return number

    async def answer(self, number: int) -> dict[str, Any]:
        while number not in self._answers:
            heard = await self.hear()
            if isinstance(heard, list) or heard.get("id", 0) is None:
                self.strays.append(heard)
            elif "method" not in heard:
                self._answers[heard["id"]] = heard
        return self._answers.pop(number)

    async def ask(self, method: str, **params: Any) -> Any:
        """Return the result of a call."""
        answer = await self.answer(await self.begin(method, **params))
        assert "result" in answer, answer
        return answer["result"]

    async def refused(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the error of a call."""
        answer = await self.answer(await self.begin(method, **params))
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    async def create(self, **spec: Any) -> str:
        return str((await self.ask("job.create", spec=spec))["id"])

    async def run(self, **spec: Any) -> dict[str, Any]:
        """Start a job and return it; nobody follows its log."""
        job: dict[str, Any] = await self.ask("job.start", id=await self.create(**spec))
        return job

    async def subscribe(self, job: str, **how: Any) -> str:
        name = str((await self.ask("log.subscribe", id=job, **how))["subscription"])
        self.logs.setdefault(name, Log())
        return name

    async def follow(self, subscription: str) -> Log:
        """Return the log of a subscription when it has ended."""
        log = self.logs.setdefault(subscription, Log())
        while log.end is None:
            await self.hear()
        return log

    async def until(self, subscription: str, data: bytes) -> Log:
        """Return the log of a subscription when its stdout holds these bytes."""
        log = self.logs.setdefault(subscription, Log())
        while data not in log.stdout:
            assert log.end is None, log
            await self.hear()
        return log

    async def until_event(self, job: str, event: str) -> list[dict[str, Any]]:
        """Return the events of a job when this one has come."""
        while True:
            found = [told for told in self.events if told.get("job", {}).get("id") == job]
            if event in [told["event"] for told in found]:
                return found
            await self.hear()

    async def closed(self) -> int:
        """Return the code with which the agent closes the connection; what it says before is heard."""
        with contextlib.suppress(Exception):
            while True:
                await self.hear()
        async with asyncio.timeout(self.deadline):
            await self.connection.wait_closed()
        assert self.connection.close_code is not None
        return self.connection.close_code


def tls(agent: RunningAgent) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=agent.ca)


class Dial(Protocol):
    """Open a websocket; `token` None: without credentials, ... : the agent's own."""

    def __call__(
        self,
        agent: RunningAgent,
        *,
        token: str | None = ...,
        headers: Sequence[tuple[str, str]] = ...,
        subprotocols: Sequence[str] = ...,
        path: str = ...,
    ) -> AbstractAsyncContextManager[Wire]: ...


class Upgrade(Protocol):
    """Ask for a websocket with exactly these headers; return the status, the headers and the body."""

    async def __call__(
        self, agent: RunningAgent, *headers: tuple[str, str], host: str | None = ..., path: str = ...
    ) -> tuple[int, dict[str, str], str]: ...


class Gate:
    """A place where a job waits until the test lets it go on."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # what is written stays there for the next who waits
        self.wait = f"read _ < {path}"  # in a job's shell

    def open(self) -> None:
        """Let one through, now or when it comes."""
        os.write(self._fd, b"\n")

    def close(self) -> None:
        os.close(self._fd)


async def vanish(wire: Wire) -> None:
    """Cut the connection without a word."""
    wire.connection.transport.abort()
    await wire.connection.wait_closed()


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]
