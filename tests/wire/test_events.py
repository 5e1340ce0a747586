"""event.subscribe: the events of jobs, in order and once, also after a lost connection."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import RunningAgent
from tests.support.waiting import DEADLINE
from tests.support.wire import names

from jobworker.model import JobSpec
from jobworker.paths import Home

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.wire import Dial, Wire


async def test_a_start_that_fails(wire: "Wire") -> None:
    await wire.ask("event.subscribe")
    job = await wire.create(argv=["/no/such"])
    await wire.refused("job.start", id=job)
    events = await wire.until_event(job, "exited")
    assert names(events) == ["created", "exited"]
    assert "No such file" in events[1]["detail"]


async def test_a_limit_is_near(wire: "Wire") -> None:
    """The event comes before the job is ended, with the policy and the time that is left."""
    await wire.ask("event.subscribe")
    job = (await wire.run(argv=["sleep", "1000"], timeout="400ms"))["id"]
    events = await wire.until_event(job, "stopped")
    assert names(events) == ["created", "started", "deadline_near", "stopping", "exited", "stopped"]
    assert (events[2]["by"], events[2]["detail"]) == ("total", "0.2 s left")


async def test_a_limit_that_moves_is_not_near(wire: "Wire") -> None:
    """A job that writes in time has no event for its idle limit."""
    await wire.ask("event.subscribe")
    shell = "for n in 1 2 3 4 5 6; do echo; sleep 0.1; done"
    job = (await wire.run(shell=shell, idle_timeout="1s"))["id"]
    assert names(await wire.until_event(job, "exited")) == ["created", "started", "exited"]


async def test_a_client_that_comes_back(wire: "Wire", second: "Wire") -> None:
    """After a revision, no event is missing and none comes twice."""
    revision = (await wire.ask("event.subscribe"))["revision"]
    jobs = [(await wire.run(argv=["true"]))["id"] for _ in range(3)]
    for job in jobs:
        await wire.until_event(job, "exited")
    seen = [event for event in wire.events if event["job"]["id"] in jobs]
    answer = await second.ask("event.subscribe", **{"from": revision})
    assert answer["revision"] == revision
    for job in jobs:
        await second.until_event(job, "exited")
    again = [event for event in second.events if event["job"]["id"] in jobs]
    assert [strip(event) for event in again] == [strip(event) for event in seen]
    middle = seen[len(seen) // 2]["revision"]
    second.events.clear()
    await second.ask("event.subscribe", **{"from": middle})
    await second.until_event(seen[-1]["job"]["id"], "exited")
    assert min(event["revision"] for event in second.events) > middle


def strip(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "subscription"}


async def test_the_agent_dies(agent: RunningAgent, dial: "Dial") -> None:
    """Events outlive a kill of the agent, and events from its absence are sent later."""
    async with dial(agent) as wire:
        await wire.ask("event.subscribe")
        job = (await wire.run(shell="sleep 0.3; exit 3"))["id"]
        seen = await wire.until_event(job, "started")
    agent.kill()
    agent.start()
    async with dial(agent) as wire:
        await wire.ask("event.subscribe", **{"from": seen[-1]["revision"]})
        events = await wire.until_event(job, "exited")
        assert names(events) == ["exited"]
        assert events[0]["job"]["exit"]["code"] == 3
        wire.events.clear()
        await wire.ask("event.subscribe", **{"from": 0})
        assert names(await wire.until_event(job, "exited")) == ["created", "started", "exited"]


async def test_those_no_longer_kept(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """A client that was away too long gets the range of missing revisions, and the events that are kept."""
    agent = start_agent(config="[events]\nkeep = 5\n")
    async with dial(agent) as wire:
        jobs = [(await wire.run(argv=["true"]))["id"] for _ in range(5)]
        for job in jobs:
            await wire.ask("job.wait", id=job)
        await wire.ask("event.subscribe")
        last = (await wire.run(argv=["true"]))["id"]
        await wire.until_event(last, "exited")
        wire.events.clear()
        await wire.ask("event.subscribe", **{"from": 0})
        await wire.until_event(last, "exited")
        gap, *rest = wire.events
        assert (gap["from"], gap["to"] > 0) == (0, True)
        assert len(rest) <= 6
        assert rest[0]["revision"] > gap["to"]


async def test_bad_input(wire: "Wire") -> None:
    last = (await wire.ask("event.subscribe"))["revision"]
    for number in (-1, last + 1000, 1 << 62):
        error = await wire.refused("event.subscribe", **{"from": number})
        assert (error["code"], error["data"]["reason"]) == (41601, "offset_out_of_range")
    assert (await wire.refused("event.subscribe", **{"from": "1"}))["code"] == -32602
    assert (await wire.refused("event.unsubscribe", subscription="s99"))["code"] == 40402
    job = (await wire.run(argv=["sleep", "1000"]))["id"]
    log = await wire.subscribe(job)
    assert (await wire.refused("event.unsubscribe", subscription=log))["code"] == 40402
    await wire.ask("job.delete", id=job, force=True)


async def test_unsubscribe(wire: "Wire", second: "Wire") -> None:
    """Nothing of it follows the answer, and a second time there is no such subscription."""
    name = (await wire.ask("event.subscribe"))["subscription"]
    assert (await wire.refused("log.unsubscribe", subscription=name))["code"] == 40402
    assert await wire.ask("event.unsubscribe", subscription=name) is True
    wire.events.clear()
    await second.ask("event.subscribe")
    job = (await second.run(argv=["true"]))["id"]
    await second.until_event(job, "exited")
    await wire.ask("agent.ping")  # what was sent before has come before
    assert wire.events == []
    assert (await wire.refused("event.unsubscribe", subscription=name))["code"] == 40402


async def test_the_client_goes_on_after_a_restart(agent: RunningAgent) -> None:
    """Its iterator survives the death of the agent without a missing or double event."""
    told: list[str] = []
    async with agent.client() as follower:
        events = await follower.events()

        async def follow() -> None:
            async for event in events:
                told.append(event.event)
                if len(told) == 6:
                    return

        following = asyncio.create_task(follow())
        for last in (False, True):
            async with agent.client() as client:
                job = await client.create(JobSpec(argv=["true"]))
                await client.start(job.id)
                await client.wait(job.id)
            if not last:
                agent.kill()
                agent.start()
        async with asyncio.timeout(DEADLINE):
            await following
    assert told == ["created", "started", "exited"] * 2


@pytest.mark.parametrize("labels", [{"x" * 200: ""}, {"": "x"}, {"a": "x" * 2000}, {str(n): "" for n in range(65)}])
async def test_labels_are_small(wire: "Wire", labels: dict[str, str]) -> None:
    """Each event carries them."""
    error = await wire.refused("job.create", spec={"argv": ["true"], "labels": labels})
    assert (error["code"], error["data"]["field"]) == (40001, "labels")


def fill(path: "Path") -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


async def test_a_full_disk(mounted: "Callable[[str], Path]", dial: "Dial") -> None:
    """An event that cannot be written is sent only later, once a crash can no longer lose it."""
    agent = RunningAgent(Home(mounted("size=8m") / "home"))
    agent.start()
    filler = agent.home.path.parent / "filler"
    try:
        async with dial(agent) as wire:
            await wire.ask("event.subscribe")
            job = (await wire.run(argv=["sleep", "1000"]))["id"]
            await wire.until_event(job, "started")
            fill(filler)
            await wire.ask("job.stop", id=job)
            filler.unlink()
            assert names(await wire.until_event(job, "stopped"))[-3:] == ["stopping", "exited", "stopped"]
    finally:
        filler.unlink(missing_ok=True)
        await agent.clean()
