"""A caller whose credentials were revoked does nothing more, and cannot keep its connection."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.hostile.messages import request
from tests.hostile.raw import TEXT, Raw, frame
from websockets.exceptions import InvalidStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Wire

DEADLINE = 30.0  # seconds


def message(*requests: dict[str, Any]) -> bytes:
    """Return a frame with a request, or with a batch of several."""
    return frame(TEXT, json.dumps(requests[0] if len(requests) == 1 else requests).encode())


def call(method: str, number: int = 1, **params: Any) -> dict[str, Any]:
    return request(method, params) | {"id": number}


def create(trace: str) -> dict[str, Any]:
    """Return a call that leaves a trace, which `created` finds."""
    return call("job.create", 2, spec={"argv": ["true"], "labels": {"trace": trace}})


async def created(wire: "Wire", trace: str) -> bool:
    return bool((await wire.ask("job.list", labels={"trace": trace}))["jobs"])


async def token(wire: "Wire", name: str) -> str:
    return str((await wire.ask("token.create", name=name, roles=["admin"]))["token"])


async def test_a_call_that_follows_the_own_revocation(shared: "RunningAgent", wire: "Wire") -> None:
    """It is not done, although it came in the same piece; the revocation is answered."""
    raw = await Raw.upgraded(shared, await token(wire, "follows"))
    await raw.say(message(call("token.revoke", name="follows")) + message(create("follows")))
    assert (await raw.answer())["result"] is True
    await raw.end()
    assert not await created(wire, "follows")


async def test_a_batch_that_revokes_itself(shared: "RunningAgent", wire: "Wire") -> None:
    """What comes after the revocation in the same batch is refused."""
    raw = await Raw.upgraded(shared, await token(wire, "batch"))
    await raw.say(message(call("token.revoke", name="batch"), create("batch")))
    revoked, refused = await raw.answer()
    assert revoked["result"] is True
    assert refused["error"]["code"] == 40101
    await raw.end()
    assert not await created(wire, "batch")


@pytest.fixture(scope="module")
def impatient(start_agent: "Callable[..., RunningAgent]") -> "RunningAgent":
    """An agent that closes a connection without credentials after 4 s, a second before websockets would give up."""
    return start_agent(config='[auth]\nlogin_timeout = "4s"\n[limits]\nconnections = 3\n')


async def test_a_revoked_caller_that_ignores_the_close_frame(impatient: "RunningAgent", dial: "Dial") -> None:
    """Its connection is cut before one ends that was opened earlier and may last 4 s."""
    async with dial(impatient) as wire:
        raw = await Raw.upgraded(impatient, await token(wire, "ignores"))
        anonymous = await Raw.upgraded(impatient)
        later = asyncio.ensure_future(anonymous.closed())
        await wire.ask("token.revoke", name="ignores")
        await before(raw.end(), later)


async def test_a_revoked_caller_that_reads_nothing(impatient: "RunningAgent", dial: "Dial") -> None:
    """Its place is free as soon, whatever it has left unread."""
    async with dial(impatient) as wire:
        job = await wire.create(argv=["true"], env={"FILLER": "x" * 100_000})
        raw = await Raw.upgraded(impatient, await token(wire, "stalled"))
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await raw.say(message(call("job.status", id=job)) * 300)  # 30 MB of answers: more than all buffers hold
        await wire.ask("agent.ping")
        anonymous = await Raw.upgraded(impatient)
        later = asyncio.ensure_future(anonymous.closed())
        await wire.ask("token.revoke", name="stalled")
        await before(accepted(impatient, dial, wire), later)
        raw.drop()


async def before(earlier: "Coroutine[Any, Any, None]", later: "asyncio.Future[Any]") -> None:
    first: asyncio.Future[Any] = asyncio.ensure_future(earlier)
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait({first, later}, return_when=asyncio.FIRST_COMPLETED)
        assert first.done()
        assert await later == 1008


async def accepted(agent: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """Return when the agent has room for a connection."""
    while True:
        try:
            async with dial(agent) as another:
                await another.ask("agent.ping")
                return
        except InvalidStatus:
            await wire.ask("agent.ping")
