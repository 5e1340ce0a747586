"""What is no agent, or an older one, gives both clients one error that says so, and no endless wait."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import DEADLINE
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.typing import Subprotocol

from jobworker.client import connect
from jobworker.client.blocking import connect as connect_blocking
from jobworker.errors import BadAnswer, ConnectionFailed, MethodNotFound

Answer = Callable[[dict[str, Any]], str | bytes]


def result(value: Any) -> Answer:
    return lambda request: json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value})


def error(value: Any) -> Answer:
    return lambda request: json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": value})


RUBBISH: dict[str, Answer] = {
    "a job that is a number": result(1),
    "a job without fields": result({}),
    "a job of other types": result({"id": 1, "name": [], "state": "flying"}),
    "an error that is a list": error([]),
    "neither result nor error": lambda request: json.dumps({"jsonrpc": "2.0", "id": request["id"]}),
    "no JSON": lambda request: "<html>",
    "a number": lambda request: "7",
    "a list of numbers": lambda request: "[7]",
    "an id that is a list": lambda request: '{"id": [], "result": 1}',
    "a notification without params": lambda request: '{"method": "log.data"}',
    "a binary frame without a header": lambda request: b"\xff\xfe",
    "deep JSON": lambda request: "[" * 100_000,
}


@pytest.fixture
async def lie(tmp_path: Path) -> AsyncIterator[Callable[[Answer], str]]:
    """Return the address of a server that answers each request with what a function returns."""
    answers: list[Answer] = []

    async def talk(connection: ServerConnection) -> None:
        async for text in connection:
            await connection.send(answers[-1](json.loads(text)))

    def set_answer(answer: Answer) -> str:
        answers.append(answer)
        return f"unix://{tmp_path}/socket"

    async with unix_serve(talk, str(tmp_path / "socket"), subprotocols=[Subprotocol("jobworker.v1")]):
        yield set_answer


def status(address: str) -> Any:
    with connect_blocking(address, timeout=DEADLINE) as client:
        return client.status("x")


@pytest.mark.parametrize("what", RUBBISH)
async def test_rubbish(lie: Callable[[Answer], str], what: str) -> None:
    address = lie(RUBBISH[what])
    async with asyncio.timeout(DEADLINE), connect(address) as client:
        with pytest.raises(BadAnswer, match="not of the protocol"):
            await client.status("x")
    with pytest.raises(BadAnswer, match="not of the protocol"):
        await asyncio.to_thread(status, address)


async def test_rubbish_in_a_subscription(lie: Callable[[Answer], str]) -> None:
    """It ends the loop with the same error; the client does not connect again for it."""

    def answer(request: dict[str, Any]) -> str:
        if request["method"] == "event.subscribe":
            event = {"method": "job.event", "params": {"subscription": "s1", "revision": "high"}}
            return json.dumps([{"id": request["id"], "result": {"subscription": "s1", "revision": 1}}, event])
        return "rubbish"

    address = lie(answer)
    async with asyncio.timeout(DEADLINE), connect(address) as client:
        events = await client.events()
        with pytest.raises(BadAnswer, match="event"):
            async for _ in events:
                pass
        with pytest.raises(BadAnswer):
            await client.ping()
        with pytest.raises(BadAnswer):
            await client.reconnect()


async def test_an_older_agent(lie: Callable[[Answer], str]) -> None:
    """The error names the method that it lacks, and what a newer agent sends besides is passed over."""

    def answer(request: dict[str, Any]) -> str:
        lacks = {"code": -32601, "message": f"there is no method {request['method']!r}"}
        return json.dumps([{"method": "agent.news", "params": {"a": 1}}, {"id": request["id"], "error": lacks}])

    address = lie(answer)
    async with asyncio.timeout(DEADLINE), connect(address) as client:
        with pytest.raises(MethodNotFound, match=r"'log\.search'") as lacking:
            await client.search("x", "y")
        assert "log.search" in lacking.value.hint
    with pytest.raises(MethodNotFound, match=r"'job\.status'"):
        await asyncio.to_thread(status, address)


async def test_a_server_that_is_silent(lie: Callable[[Answer], str]) -> None:
    """A timeout names the method; the client can be closed at once."""
    address = lie(lambda request: json.dumps({"id": -1, "result": None}))
    async with asyncio.timeout(DEADLINE), connect(address, timeout=0.1) as client:
        with pytest.raises(ConnectionFailed, match=r"job\.status: no answer within 0\.1 s"):
            await client.status("x")
        with pytest.raises(ConnectionFailed, match=r"job\.run: no answer within 0\.1 s"):
            await client.spawn("true")
