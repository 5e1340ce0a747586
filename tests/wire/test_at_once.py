"""Calls that meet: on one job, at one door, on a connection that goes. Each has one outcome and leaves nothing."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Upgrade, Wire


def batch(*calls: tuple[str, dict[str, Any]]) -> str:
    return json.dumps(
        [{"jsonrpc": "2.0", "id": n, "method": name, "params": params} for n, (name, params) in enumerate(calls)]
    )


async def together(wire: "Wire", *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the answers of one batch, in the order of its calls."""
    answers = await wire.tell(batch(*calls))
    return sorted(answers, key=lambda answer: answer["id"])


async def test_a_start_and_a_deletion(wire: "Wire", second: "Wire") -> None:
    """One of them wins: the job runs and is there, or is gone and never runs."""
    for _ in range(30):
        job = await wire.create(argv=["sleep", "1000"])
        numbers = [await wire.begin("job.delete", id=job), await second.begin("job.start", id=job)]
        deleted, started = await wire.answer(numbers[0]), await second.answer(numbers[1])
        assert ("result" in deleted) != ("result" in started)
        if "result" in started:
            assert deleted["error"]["code"] == 40901
            await wire.ask("job.delete", id=job, force=True)
        assert (await wire.refused("job.status", id=job))["code"] == 40401


@pytest.mark.parametrize("other", ["job.update", "job.wait", "log.subscribe", "job.start", "job.delete"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_deletion_in_a_batch(wire: "Wire", other: str, first: bool) -> None:
    """Every call is answered, and the job does not come back."""
    job = await wire.create(argv=["sleep", "1000"])
    params: dict[str, Any] = {"id": job} | ({"timeout": 500} if other == "job.update" else {})
    calls = [("job.delete", {"id": job, "force": True}), (other, params)]
    answers = await together(wire, *(calls if first else calls[::-1]))
    assert len(answers) == 2
    assert sum("result" in answer for answer in answers if other == "job.delete") <= 1
    for answer in answers:
        if "subscription" in (answer.get("result") or {}):
            assert (await wire.follow(answer["result"]["subscription"])).end is not None
    if (await wire.answer(await wire.begin("job.status", id=job))).get("result"):
        await wire.ask("job.delete", id=job, force=True)  # it was not deleted, and the answer said so
    assert (await wire.refused("job.status", id=job))["code"] == 40401


async def test_two_updates(wire: "Wire") -> None:
    """Neither is lost; and the key of the job still means it."""
    spec = {"argv": ["sleep", "1000"]}
    job = (await wire.ask("job.create", spec=spec, key="at once"))["id"]
    labels = {"a": "b"}
    answers = await together(
        wire, ("job.update", {"id": job, "timeout": 50}), ("job.update", {"id": job, "labels": labels})
    )
    assert all("result" in answer for answer in answers)
    found = await wire.ask("job.status", id=job)
    assert (found["spec"]["timeout"], found["labels"]) == (50, labels)
    assert (await wire.ask("job.create", spec=spec, key="at once"))["id"] == job
    await wire.ask("job.delete", id=job)


async def test_an_update_and_a_start(wire: "Wire") -> None:
    """The limit holds for the running job, also while clients read its log."""
    job = await wire.create(argv=["sleep", "1000"])
    await together(
        wire,
        ("job.update", {"id": job, "timeout": "300ms"}),
        ("log.read", {"id": job}),
        ("log.subscribe", {"id": job, "tail": 5}),
        ("job.start", {"id": job}),
    )
    found = await wire.ask("job.status", id=job)
    assert found["spec"]["timeout"] == "300ms"
    if found["state"] == "created":
        await wire.ask("job.start", id=job)
    assert (await wire.ask("job.wait", id=job, timeout=DEADLINE))["exit"]["reason"] == "timeout"


async def test_a_subscription_from_before_the_start(wire: "Wire", second: "Wire") -> None:
    """A subscription by lines to a created job gets its output, whatever other subscriptions come and go."""
    job = await wire.create(shell="echo heard")
    for _ in range(3):
        name = await wire.subscribe(job, tail=5)
        await second.ask("log.read", id=job)
    await second.ask("job.start", id=job)
    assert (await wire.follow(name)).stdout == b"heard\n"


async def test_two_pauses(wire: "Wire") -> None:
    """One pauses it, and then it stands still."""
    job = (await wire.run(shell="while :; do :; done"))["id"]
    answers = await together(wire, ("job.pause", {"id": job}), ("job.pause", {"id": job}))
    assert sorted(answer.get("error", {}).get("code", 0) for answer in answers) == [0, 40901]
    found = await wire.ask("job.status", id=job)
    assert found["state"] == "paused"
    group = [line for line in Path(f"/proc/{found['pid']}/cgroup").read_text().splitlines() if line.startswith("0::")]
    frozen = Path(f"/sys/fs/cgroup/unified{group[0][3:]}/cgroup.events") if group else Path("/nonexistent")
    if frozen.exists():
        assert "frozen 1" in frozen.read_text()
    await wire.ask("job.delete", id=job, force=True)


async def test_events_from_a_revision_that_was_just_sent(wire: "Wire") -> None:
    for _ in range(5):
        job = await wire.run(argv=["sleep", "1000"])
        name = (await wire.ask("event.subscribe", **{"from": job["revision"]}))["subscription"]
        await wire.ask("job.delete", id=job["id"], force=True)
        await wire.until_event(job["id"], "deleted")
        assert all(event["revision"] > job["revision"] for event in wire.events if event["subscription"] == name)
        await wire.ask("event.unsubscribe", subscription=name)


# The door


async def test_logins_beside_a_revocation(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """A connection that logged in with the token is closed, however the two calls met."""
    token = (await wire.ask("token.create", name="racer", roles=["reader"]))["token"]
    async with contextlib.AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(dial(shared, token=None)) for _ in range(20)]
        for one in wires:
            await one.begin("auth.login", token=token)
        await wire.ask("token.revoke", name="racer")
        codes = await asyncio.gather(*(one.closed() for one in wires))
    assert set(codes) == {1008}


async def test_many_guesses_in_one_message(shared: "RunningAgent", dial: "Dial") -> None:
    """A batch as the first message is not looked at."""
    calls = [("auth.login", {"token": f"jw1_{n}"}) for n in range(50)]
    async with dial(shared, token=None) as wire:
        answer = await wire.tell(batch(*calls))
        assert answer["error"]["code"] == 40101
        assert await wire.closed() == 1008


async def test_connections_at_once(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """Of many that come together no more stay in than one principal may have."""
    agent = start_agent(config="[limits]\nconnections_per_principal = 3\n")
    wires: list[Wire] = []
    async with contextlib.AsyncExitStack() as stack:

        async def come() -> None:
            with contextlib.suppress(Exception):
                wires.append(await stack.enter_async_context(dial(agent)))

        await asyncio.gather(*(come() for _ in range(20)))
        alive = [await asyncio.gather(one.ask("agent.ping"), return_exceptions=True) for one in wires]
        assert 1 <= sum(not isinstance(found[0], BaseException) for found in alive) <= 3


async def test_a_password_that_is_not_ascii(shared: "RunningAgent", upgrade: "Upgrade") -> None:
    assert (await upgrade(shared, ("Authorization", "Basic ä")))[0] == 400


# Connections that go


def watches(pid: int) -> int:
    """Count what the process watches by inotify."""
    count = 0
    for fd in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            count += len(re.findall(r"^inotify ", fd.read_text(), re.MULTILINE))
    return count


async def test_no_subscription_outlives_its_connection(agent: "RunningAgent", dial: "Dial") -> None:
    """However subscribing and the loss of the connection meet, nothing of it stays in the agent."""
    async with dial(agent) as wire:
        job = (await wire.run(shell="echo up; sleep 1000"))["id"]
        await wire.until(await wire.subscribe(job), b"up\n")
    async with dial(agent) as wire:
        await wire.ask("agent.ping")
        before, handles = watches(agent.pid), len(os.listdir(f"/proc/{agent.pid}/fd"))
    subscribe = ("log.subscribe", {"id": job})
    notification = json.dumps({"jsonrpc": "2.0", "method": "log.subscribe", "params": {"id": job}})
    for number in range(30):
        async with dial(agent) as wire:
            if number % 3 == 0:
                await wire.say(notification)
            elif number % 3 == 1:
                await wire.say(batch(("job.wait", {"id": job}), ("log.subscribe", {"id": job, "tail": 1})))
            else:
                await wire.say(batch(subscribe, ("log.unsubscribe", {"subscription": "s1"})))
            if number % 2:
                wire.connection.transport.abort()
    async with dial(agent) as wire, asyncio.timeout(DEADLINE):
        while watches(agent.pid) > before or len(os.listdir(f"/proc/{agent.pid}/fd")) > handles:
            await wire.ask("agent.ping")


async def test_pages_for_a_client_that_does_not_read(wire: "Wire") -> None:
    """Pages under way have a limit in bytes; the next call is refused with retry_after, and later gets its page."""
    job = (await wire.run(shell="yes | head -c 3000000"))["id"]
    await wire.follow(await wire.subscribe(job))
    calls = [("log.read", {"id": job, "offset": n, "max_bytes": 300_000}) for n in range(10)]
    answers = await together(wire, *calls)
    codes = [answer.get("error", {}).get("code", 0) for answer in answers]
    assert (codes.count(0), codes.count(42901)) == (3, 7)
    assert (await wire.ask("log.read", id=job, max_bytes=1 << 20))["next"] == 1 << 20


async def test_a_batch_counts_as_many(shared: "RunningAgent", dial: "Dial") -> None:
    """The agent works at so many requests of a connection at once and reads no further, batches or not."""
    async with dial(shared) as wire:
        job = await wire.create(argv=["true"])
        waits = [{"jsonrpc": "2.0", "id": n, "method": "job.wait", "params": {"id": job}} for n in range(50)]
        pings = [{"jsonrpc": "2.0", "id": 100 + n, "method": "agent.ping"} for n in range(20)]
        await wire.connection.send(json.dumps(waits))
        await wire.connection.send(json.dumps(pings))  # 70 are more than 64
        async with dial(shared) as other:
            await other.ask("job.start", id=job)
        first, second = json.loads(await wire.connection.recv()), json.loads(await wire.connection.recv())
        assert [one["id"] for one in first] == list(range(50))
        assert [one["id"] for one in second] == list(range(100, 120))


async def test_a_client_that_leaves_while_its_requests_wait(
    start_agent: "Callable[..., RunningAgent]", dial: "Dial"
) -> None:
    """The connection of a client that left ends, although the agent had stopped reading from it."""
    agent = start_agent(config='[agent]\non_shutdown = "leave"\n[limits]\nrequests_in_flight = 4\n')
    async with dial(agent) as root:
        job = await root.create(argv=["true"])
        token = (await root.ask("token.create", name="waiter", roles=["reader"]))["token"]
        async with dial(agent, token=token) as wire:
            await wire.connection.send(batch(*[("job.wait", {"id": job})] * 3))
            await wire.connection.send(batch(*[("agent.ping", {})] * 3))
            await wire.connection.send(batch(*[("agent.ping", {})] * 3))
    async with asyncio.timeout(DEADLINE):
        assert await asyncio.to_thread(agent.end) == 0
