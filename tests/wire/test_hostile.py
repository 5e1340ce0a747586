"""The short form of `make hostile`: hostile input has no effect on other clients."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import RunningAgent
from tests.hostile import fuzz, leaks, logins, unseen
from tests.hostile.messages import request
from tests.hostile.outcome import judge
from tests.hostile.raw import PING, TEXT, Raw, frame

from jobworker.errors import ParseError
from jobworker.protocol import MAX_CONTAINERS, MAX_MEMBERS
from jobworker.server.jsonrpc import parse, read

if TYPE_CHECKING:
    from tests.support.wire import Dial, Upgrade


# The whole, in short


async def test_logins(tmp_path: Path) -> None:
    """Bad logins are refused, all of them, and a good one from another address is not."""
    judge(await logins.guess(tmp_path / "t", many=100))


async def test_unseen(tmp_path: Path) -> None:
    """The answers for a foreign and for a missing job are the same, byte for byte."""
    judge(await unseen.compare(tmp_path / "t", many=5))


@pytest.mark.slow
async def test_fuzz(tmp_path: Path) -> None:
    judge(await fuzz.throw(tmp_path / "t", seconds=3, first=fuzz.AT_ONCE))


async def test_secrets(tmp_path: Path) -> None:
    """Credentials are written nowhere, values of an environment to the job table alone."""
    judge(await leaks.look(tmp_path / "t"))


# What was found and mended


@pytest.mark.parametrize(
    "text", ["[" + "[]," * MAX_CONTAINERS + "0]", '[{"":{}}' + ',{"":{}}' * MAX_CONTAINERS + "]"]
)
def test_more_lists_and_objects_than_are_read(text: str) -> None:
    """They are counted before any is made."""
    with pytest.raises(ParseError, match="lists and objects"):
        parse(text)


@pytest.mark.parametrize("member", ["1", '""', '","', '"\\\\"'])
def test_more_members_than_are_read(member: str) -> None:
    """They are counted before any is made, and what is in strings does not count."""
    text = "[" + f"{member}," * (MAX_MEMBERS - 20) + "1]"
    assert len(read(f'{{"jsonrpc":"2.0","method":"x","params":{text}}}').requests) == 1
    with pytest.raises(
        ParseError, match=f"members, those of objects counted four times; expected at most {MAX_MEMBERS}"
    ):
        read(f'{{"jsonrpc":"2.0","method":"x","params":[{text},{text}]}}')


def test_brackets_in_strings_are_none() -> None:
    """A text full of brackets, quotes and backslashes is a text."""
    text = '[{"\\' * MAX_CONTAINERS
    assert parse(json.dumps({"text": text, "n": [text]})) == {"text": text, "n": [text]}


async def test_what_a_client_sends_and_leaves(shared: RunningAgent, dial: "Dial") -> None:
    """Requests before the end of a connection are carried out, also if they came in many pieces."""
    name = "sent and gone"
    spec = {"argv": ["true"], "env": {"FILLER": "x" * 100_000}, "labels": {"who": name}}
    raw = await Raw.upgraded(shared, shared.token)
    await raw.say(frame(TEXT, json.dumps(request("job.create", {"spec": spec})).encode()))
    await raw.writer.drain()
    raw.writer.close()
    async with dial(shared) as wire:
        async with asyncio.timeout(wire.deadline):
            while not (await wire.ask("job.list", labels={"who": name}))["jobs"]:
                pass


async def test_a_stranger_that_sends_on_and_on(start_agent: "Callable[..., RunningAgent]") -> None:
    """Before the login a client may send little, pings included: it is closed with 1008, before the time is up."""
    raw = await Raw.upgraded(start_agent(config='[auth]\nlogin_timeout = "10m"\n'))
    await raw.say(frame(PING, b"x" * 125) * 1000)
    assert await raw.closed() == 1008


async def test_values_are_not_audited(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """A spec that is refused is written down by the name of its field."""
    agent = start_agent()
    async with dial(agent) as wire:
        await wire.refused("job.create", spec={"argv": ["true"], "env": {"PIN": 918273}})
        await wire.refused("job.create", spec={"argv": ["true"], "cwd": "918273"})
    text = agent.home.audit.read_text()
    assert "918273" not in text
    reasons = [entry["reason"] for line in text.splitlines() if "reason" in (entry := json.loads(line))]
    assert [reason.partition(":")[0] for reason in reasons] == ["InvalidParams", "InvalidSpec"]
    assert reasons[1] == "InvalidSpec: cwd"


async def test_strangers_do_not_flood_the_audit_log(
    start_agent: "Callable[..., RunningAgent]", upgrade: "Upgrade"
) -> None:
    """The audit log has as many lines for a wrong Host as for a wrong token, and no more."""
    agent = start_agent(config="[limits]\nfailed_logins = 3\n")
    for _ in range(10):
        assert (await upgrade(agent, host="evil.example"))[0] == 403
    lines: list[dict[str, Any]] = [json.loads(line) for line in agent.home.audit.read_text().splitlines()]
    assert [line["decision"] for line in lines] == ["refused"] * 3


async def test_garbage_does_not_fill_the_log(start_agent: "Callable[..., RunningAgent]") -> None:
    """The agent logs some of the connections that are not TLS, not all."""
    agent = start_agent()
    for _ in range(100):
        raw = await Raw.open(agent, tls=False)
        await raw.say(b"GET / HTTP/1.1\r\n\r\n")
        await raw.end()
    assert 0 < agent.home.agent_log.read_text().count("TLS handshake failed") < 90


async def test_many_labels(shared: RunningAgent, dial: "Dial") -> None:
    """What is asked of the list is bounded as labels are, so that no query is too large."""
    async with dial(shared) as wire:
        error = await wire.refused("job.list", labels={str(number): "x" for number in range(1200)})
        assert (error["code"], error["data"]["field"]) == (-32602, "labels")
        assert (await wire.ask("job.list", states=["running"] * 40_000))["jobs"] == []
