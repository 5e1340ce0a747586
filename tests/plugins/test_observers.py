"""Observers: what they are sent, in which order, and after the death of the agent."""

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.support.plugin_site import BUILT_IN, Install
from tests.support.waiting import DEADLINE

from jobworker.model import JobSpec

if TYPE_CHECKING:
    from tests.conftest import RunningAgent


async def test_an_observer_gets_all_in_order(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """However slow it is, and no other part waits for it."""
    source = """
    import asyncio
    from jobworker.interfaces import hookimpl
    @hookimpl
    async def job_changed(event, context):
        await asyncio.sleep(0.01)
        with open(context.state / "heard", "a") as file:
            file.write(f"{event.revision} {event.job.id} {event.event}\\n")
    """
    plugin("listener", source)
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'listener']\n")
    async with agent.client() as client:
        async with asyncio.timeout(DEADLINE):
            ids = [(await client.create(JobSpec(shell="exit 3"))).id for _ in range(20)]
            await asyncio.gather(*(client.start(job) for job in ids))
            await asyncio.gather(*(client.wait(job, DEADLINE) for job in ids))
        heard = agent.home.path / "heard"
        async with asyncio.timeout(DEADLINE):
            while not heard.exists() or len(heard.read_text().splitlines()) < 60:  # noqa: ASYNC110  # a file
                await asyncio.sleep(0.01)
    lines = [line.split() for line in heard.read_text().splitlines()]
    revisions = [int(revision) for revision, _, _ in lines]
    assert revisions == sorted(set(revisions))
    for job in ids:
        assert [what for _, about, what in lines if about == job] == ["created", "started", "exited"]


async def test_an_observer_continues_after_a_kill(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """Events that it had not received when the agent was killed, and later ones, come from the next agent."""
    source = """
    import asyncio
    from jobworker.interfaces import hookimpl
    @hookimpl
    async def job_changed(event, context):
        with open(context.state / "heard", "a") as file:
            file.write(f"{event.job.id} {event.event}\\n")
        await asyncio.sleep(0.1)
    """
    plugin("listener", source)
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'listener']\n")
    heard = agent.home.path / "heard"
    async with agent.client() as client:
        made = [(await client.create(JobSpec(argv=["sleep", "1000"]))).id for _ in range(5)]
        job = await client.start(made[0])
    await _until(heard.exists)
    await asyncio.to_thread(agent.kill)
    assert len(heard.read_text().splitlines()) < 5
    assert job.pid is not None
    os.kill(job.pid, 9)
    agent.start()
    await _until(lambda: f"{job.id} exited" in heard.read_text())
    told = [f"{each} created" for each in made] + [f"{job.id} started", f"{job.id} exited"]
    assert [*dict.fromkeys(heard.read_text().splitlines())] == told


async def test_an_observer_gets_an_event_again(plugin: Install, start: "Callable[..., RunningAgent]") -> None:
    """As often as it returns a number of seconds; an event that it has not handled comes from the next agent, too."""
    source = """
    from jobworker.interfaces import hookimpl
    @hookimpl
    def job_changed(event, context):
        with open(context.state / "heard", "a") as file:
            file.write(f"{event.event}\\n")
        if event.event == "created" and not (context.state / "go-on").exists():
            return 0.01
        if event.event == "started":
            return True  # no number of seconds: it is handled
    """
    plugin("listener", source)
    agent = start(f"[plugins]\nenabled = [{BUILT_IN}, 'listener']\n")
    heard = agent.home.path / "heard"
    async with agent.client() as client:
        job = await client.start((await client.create(JobSpec(argv=["true"]))).id)
        await client.wait(job.id, DEADLINE)
    await _until(lambda: heard.exists() and len(heard.read_text().splitlines()) > 6)  # more often than faults count
    await asyncio.to_thread(agent.kill)
    lines = heard.read_text().splitlines()
    assert {*lines} == {"created"}
    agent.start()
    await _until(lambda: len(heard.read_text().splitlines()) > len(lines))
    (agent.home.path / "go-on").touch()
    await _until(lambda: "exited" in heard.read_text())
    after = heard.read_text().splitlines()
    assert [*dict.fromkeys(after)] == ["created", "started", "exited"]
    assert after.count("started") == 1


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not true():  # noqa: ASYNC110  # a file, which nobody tells of
            await asyncio.sleep(0.01)
