"""How the messages of one connection are read and answered: in order, as long as its client reads the answers."""

import json
from typing import TYPE_CHECKING, Any

from tests.hostile.messages import request
from tests.hostile.raw import CLOSE, TEXT, Raw, frame

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Wire


def call(method: str, params: dict[str, Any] | None = None, number: int = 1) -> bytes:
    return frame(TEXT, json.dumps(request(method, params or {}) | {"id": number}).encode())


def create(name: str) -> bytes:
    """Return a call that leaves a trace, which `created` finds."""
    return call("job.create", {"spec": {"argv": ["true"], "labels": {"trace": name}}}, 0)


async def created(wire: "Wire", name: str) -> bool:
    return bool((await wire.ask("job.list", labels={"trace": name}))["jobs"])


async def test_answers_of_one_piece_come_in_order(shared: "RunningAgent") -> None:
    """Calls that wait for nothing are answered in the order in which they were sent, errors among them."""
    raw = await Raw.upgraded(shared, shared.token)
    pings = [call("agent.ping" if n % 3 else "job.fly", number=n) for n in range(300)]
    await raw.say(b"".join(pings))
    answers = [await raw.answer() for _ in pings]
    assert [answer["id"] for answer in answers] == list(range(300))
    assert ["error" in answer for answer in answers] == [n % 3 == 0 for n in range(300)]
    raw.drop()


async def test_an_answer_to_what_waits_comes_among_others(shared: "RunningAgent", wire: "Wire") -> None:
    """A call that waits gives way to those after it and is answered all the same."""
    job = await wire.create(argv=["true"])
    raw = await Raw.upgraded(shared, shared.token)
    await raw.say(call("job.wait", {"id": job}, 1) + call("agent.ping", number=2))
    assert (await raw.answer())["id"] == 2
    await raw.say(call("job.start", {"id": job}, 3))
    assert {(await raw.answer())["id"], (await raw.answer())["id"]} == {1, 3}
    raw.drop()


async def test_unread_answers_are_bounded(shared: "RunningAgent", wire: "Wire") -> None:
    """A client that sends and does not read is not read either, until it reads."""
    job = (await wire.run(argv=["sleep", "1000"], env={"FILLER": "x" * 100_000}))["id"]
    raw = await Raw.upgraded(shared, shared.token)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    calls = 300  # 30 MB of answers: more than all buffers between here and there
    await raw.say(call("job.status", {"id": job}) * calls + create("unread"))
    for _ in range(500):
        await wire.ask("agent.ping")
    assert not await created(wire, "unread")
    raw.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(calls):
        assert "result" in await raw.answer()
    assert (await raw.answer())["result"]["labels"] == {"trace": "unread"}
    raw.drop()
    await wire.ask("job.delete", id=job, force=True)


async def test_a_revoked_caller_does_nothing_more(shared: "RunningAgent", wire: "Wire") -> None:
    """What it sends after the revocation is not done, although the connection waits for its close frame."""
    token = (await wire.ask("token.create", name="late", roles=["admin"]))["token"]
    raw = await Raw.upgraded(shared, token)
    await raw.say(create("in time"))
    assert "result" in await raw.answer()
    await wire.ask("token.revoke", name="late")
    heard = await raw.hear()
    assert heard is not None
    assert heard[0] == CLOSE
    await raw.say(create("too late") + frame(CLOSE, b"\x03\xe8"))
    await raw.end()
    assert await created(wire, "in time")
    assert not await created(wire, "too late")
