"""Ended jobs are deleted with their logs, the oldest first, without an effect on other jobs."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import FOR_OTHERS, RunningAgent

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire


async def ended(wire: "Wire", shell: str = ":", **spec: Any) -> str:
    run = await wire.ask("job.run", spec={"shell": shell, **spec})
    await wire.follow(run["subscription"])
    return str(run["job"]["id"])


async def ids(wire: "Wire") -> set[str]:
    return {job["id"] for job in (await wire.ask("job.list", limit=1000))["jobs"]}


async def forgotten(wire: "Wire", *jobs: str) -> None:
    """Return when the events of these deletions have come, with the right cause."""
    for job in jobs:
        assert (await wire.until_event(job, "deleted"))[-1]["by"] == "retention"


@pytest.fixture
async def limited(start_agent: Callable[..., RunningAgent], dial: "Dial") -> Callable[[str], Any]:
    def start(limits: str) -> Any:
        agent = start_agent(config=f"[retention]\n{limits}\n")
        return agent, dial(agent)

    return start


async def test_by_number(limited: Callable[[str], Any]) -> None:
    """The oldest go, with their logs; those that run or were never started are not counted."""
    agent, connection = limited("jobs = 3")
    async with connection as wire:
        await wire.ask("event.subscribe")
        running = (await wire.run(argv=["sleep", "1000"]))["id"]
        created = await wire.create(argv=["true"])
        jobs = [await ended(wire, f"echo {n}") for n in range(6)]
        await forgotten(wire, *jobs[:3])
        assert await ids(wire) == {running, created, *jobs[3:]}
        assert {folder.name for folder in agent.home.logs.iterdir()} == set(jobs[3:])
        await wire.ask("job.delete", id=jobs[4])
        more = await ended(wire)
        assert await ids(wire) == {running, created, jobs[3], jobs[5], more}
        assert (await wire.refused("job.status", id=jobs[0]))["code"] == 40401
        await wire.ask("job.stop", id=running)


async def test_by_bytes(limited: Callable[[str], Any], dial: "Dial") -> None:
    """Of all logs of ended jobs together; a job without output costs nothing."""
    agent, connection = limited('bytes = "1MiB"')
    async with connection as wire:
        await wire.ask("event.subscribe")
        silent = await ended(wire)
        jobs = [await ended(wire, "head -c 400000 /dev/zero") for _ in range(4)]
        await forgotten(wire, silent, *jobs[:2])
        assert await ids(wire) == set(jobs[2:])
    agent.end()
    agent.start()  # what was counted is counted again
    async with dial(agent) as wire:
        await wire.ask("event.subscribe")
        more = await ended(wire, "head -c 400000 /dev/zero")
        await forgotten(wire, jobs[2])
        assert await ids(wire) == {jobs[3], more}


async def test_by_age(home: Any, dial: "Dial") -> None:
    """What ended too long ago goes at the start, what did not stays."""
    agent = RunningAgent(home, "[retention]\nage = '1h'\n")
    agent.start()
    async with dial(agent) as wire:
        old, young = [await ended(wire, "echo x") for _ in range(2)]
    agent.end()
    with closing(sqlite3.connect(home.database)) as table, table:
        (text,) = table.execute("SELECT record FROM jobs WHERE id = ?", (old,)).fetchone()
        year = text.index('"exited_at":"') + len('"exited_at":"')
        table.execute("UPDATE jobs SET record = ? WHERE id = ?", (f"{text[:year]}1999{text[year + 4 :]}", old))
    agent.start()
    async with dial(agent) as wire:
        await wire.ask("event.subscribe", **{"from": 0})
        await forgotten(wire, old)
        assert await ids(wire) == {young}
    await agent.clean()


async def test_a_subscriber_continues(limited: Callable[[str], Any]) -> None:
    """The log of a job with a subscriber stays until the subscription ends."""
    _, connection = limited("jobs = 1")
    async with connection as wire:
        await wire.ask("event.subscribe")
        run = await wire.ask("job.run", spec={"shell": "setsid sh -c 'sleep 0.5; echo late' & echo early"})
        others = [await ended(wire) for _ in range(3)]
        log = await wire.follow(run["subscription"])
        assert log.stdout.startswith(b"early\n")
        await forgotten(wire, *others[:2])


async def test_keys_are_free_again(limited: Callable[[str], Any]) -> None:
    _, connection = limited("jobs = 1")
    async with connection as wire:
        await wire.ask("event.subscribe")
        first = await wire.ask("job.run", spec={"argv": ["true"]}, key="k")
        await wire.follow(first["subscription"])
        await ended(wire)
        await forgotten(wire, first["job"]["id"])
        again = await wire.ask("job.run", spec={"argv": ["true"]}, key="k")
        assert again["job"]["id"] != first["job"]["id"]


@pytest.mark.parametrize("limit", ["jobs = 4", 'bytes = "1MiB"'])
async def test_each_owner_has_a_share(start_agent: Callable[..., RunningAgent], dial: "Dial", limit: str) -> None:
    """Many jobs of one owner push out only its own, the oldest of them first, also after a restart."""
    agent = start_agent(config=f"[retention]\n{limit}\n{FOR_OTHERS}")
    shell = "head -c 200000 /dev/zero"
    async with dial(agent) as root:
        token = (await root.ask("token.create", name="ann", roles=["writer"]))["token"]
        await root.ask("event.subscribe")
        async with dial(agent, token=token) as ann:
            hers = await ended(ann, shell)
        jobs = [await ended(root, shell) for _ in range(8)]
        kept = 3 if limit.startswith("jobs") else 4
        await forgotten(root, *jobs[:-kept])
        assert await ids(root) == {hers, *jobs[-kept:]}
        await root.ask("agent.restart")
        assert await root.closed() == 1012
    async with dial(agent) as root:
        await root.ask("event.subscribe")
        more = await ended(root, shell)
        await forgotten(root, jobs[-kept])
        assert await ids(root) == {hers, more, *jobs[1 - kept :]}


async def test_no_job_is_too_young(limited: Callable[[str], Any], dial: "Dial") -> None:
    """A job is kept for a while although there are too many, and deleted when that is over."""
    _, connection = limited('jobs = 1\nmin_age = "1h"')
    async with connection as wire:
        jobs = [await ended(wire) for _ in range(3)]
        assert await ids(wire) == {*jobs}
    _, connection = limited('jobs = 1\nmin_age = "500ms"')
    async with connection as wire:
        await wire.ask("event.subscribe")
        jobs = [await ended(wire) for _ in range(3)]
        await forgotten(wire, *jobs[:2])
