"""What one caller can make the agent hold is bounded: unread answers and events, large calls under way."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import FOR_OTHERS
from tests.hostile import floods
from tests.hostile.messages import request
from tests.hostile.outcome import judge
from tests.hostile.raw import TEXT, Raw, frame

from jobworker.auth.sessions import MAX_RECEIVED_BYTES, MAX_REQUEST_BYTES
from jobworker.server.dispatch import MAX_BATCH_BYTES

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire

    from jobworker.testing import RunningAgent

CONNECTIONS = 30  # with a large message each


async def test_unread_events(tmp_path: Path) -> None:
    """A connection holds one page of events, however many subscriptions are not read."""
    judge(await floods.unread_events(tmp_path / "t", connections=1, each=20, changes=20))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["job.status", "job.wait", "job.list"])
async def test_unread_answers(tmp_path: Path, method: str) -> None:
    judge(await floods.unread_answers(tmp_path / "t", method))


@pytest.mark.slow
async def test_stop_options(tmp_path: Path) -> None:
    judge(await floods.stop_options(tmp_path / "t"))


async def test_a_large_batch(wire: "Wire") -> None:
    """What does not fit is an error of its own; the calls were made, and small results are there."""
    job = (await wire.ask("job.create", spec={"argv": ["true"], "env": {"X": "x" * 900_000}}))["id"]
    ids = [job] * 8
    batch = [request("job.status", {"id": job}, number) for number, job in enumerate(ids)]
    await wire.say(json.dumps([request("agent.ping", {}, "first"), *batch, request("agent.ping", {}, "last")]))
    answers = await wire.hear()
    assert [answer["id"] for answer in answers] == ["first", *range(8), "last"]
    assert len(json.dumps(answers)) < MAX_BATCH_BYTES + 100_000
    kept = [answer for answer in answers if "result" in answer]
    assert {answer["id"] for answer in kept} >= {"first", 0, 1, 2, 3}
    left_out = [answer["error"] for answer in answers if "error" in answer]
    assert {(error["code"], error["data"]["retryable"]) for error in left_out} == {(41301, False)}
    assert len(left_out) >= 4
    await wire.ask("job.delete", id=job)


async def test_large_requests_under_way(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """Too many bytes of one principal are refused by the id of each request; small calls and others go on."""
    agent = start_agent()
    large = {"strategy": "command", "options": {"argv": ["true", "x" * 3_000_000]}}
    async with dial(agent) as first, contextlib.AsyncExitStack() as stack:
        run = await first.ask("job.run", spec={"shell": floods.STUBBORN})
        job = run["job"]["id"]
        while run["subscription"] not in first.logs:  # until it ignores the signal
            await first.hear()
        await first.begin("job.stop", id=job, stop={"grace": 1000})  # the others join it
        calls = []
        for _ in range(7):
            wire = await stack.enter_async_context(dial(agent))
            calls += [(wire, await wire.begin("job.stop", id=job, stop=large)) for _ in range(2)]
            await wire.ask("agent.ping")
        await first.ask("job.stop", id=job, stop={"strategy": "kill"})
        answers = [await wire.answer(number) for wire, number in calls]
        errors = [answer["error"] for answer in answers if "error" in answer]
        assert len(answers) - len(errors) == MAX_REQUEST_BYTES // 3_000_000
        assert {error["code"] for error in errors} == {42901}
        assert str(MAX_REQUEST_BYTES) in errors[0]["message"]
        await first.ask("job.create", spec={"argv": ["true"], "env": {"X": "x" * 3_000_000}})  # there is room again


@pytest.mark.parametrize("fragments", [False, True])
async def test_messages_that_are_not_complete(start_agent: "Callable[..., RunningAgent]", fragments: bool) -> None:
    """Too many bytes of them close a connection with 1013; when the others are gone there is room again."""
    agent = start_agent()
    text = b"x" * 3_900_000
    part = frame(TEXT, text + b"x")[:-1]  # all but the last byte
    if fragments:
        parts = [text[begin : begin + 50_000] for begin in range(0, len(text), 50_000)]
        part = b"".join(frame(0 if number else TEXT, data, fin=False) for number, data in enumerate(parts))
    opened = []
    for _ in range(MAX_RECEIVED_BYTES // len(text)):
        opened.append(await Raw.upgraded(agent, agent.token))
        await opened[-1].say(part)
    opened.append(await Raw.upgraded(agent, agent.token))
    sending = asyncio.create_task(opened[-1].say(part))
    closed = [asyncio.create_task(raw.closed()) for raw in opened]  # any: what they sent may still be on its way
    done, _ = await asyncio.wait(closed, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result() for task in done} == {1013}
    await asyncio.gather(sending, return_exceptions=True)
    for task in closed:
        task.cancel()
    await asyncio.gather(*closed, return_exceptions=True)
    for raw in opened:
        raw.drop()
    async with agent.client() as client:
        await client.call("job.create", spec={"argv": ["true"], "env": {"X": "x" * 3_900_000}})


@pytest.mark.parametrize("value", ["x" * 1_000_000, [[]] * 5000], ids=["bytes", "lists"])
async def test_large_messages_of_many_connections(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial", value: object
) -> None:
    """The connections of one principal decode large messages one after the other: others wait for one at most."""
    agent = start_agent(config=FOR_OTHERS)
    text = frame(TEXT, json.dumps(request("job.status", {"id": value}, 1)).encode())
    answered = 0

    async def flood(raw: Raw) -> None:
        nonlocal answered
        await raw.say(text[-1:])
        assert (await raw.answer())["error"]["code"] in (40401, -32602)
        answered += 1

    async with dial(agent) as wire:
        token = (await wire.ask("token.create", name="many", roles=["writer"]))["token"]
        raws = [await Raw.upgraded(agent, token) for _ in range(CONNECTIONS)]
        for raw in raws:
            await raw.say(text[:-1])
        floods = [asyncio.create_task(flood(raw)) for raw in raws]
        await asyncio.sleep(0)  # until all are sent
        for _ in range(3):
            await wire.ask("agent.ping")
        assert answered < CONNECTIONS, "all large messages were answered before three pings"
        await asyncio.gather(*floods)
        for raw in raws:
            raw.drop()
