"""A job whose labels move out of a caller's scope: what shows it to that caller ends."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.conftest import FOR_OTHERS

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Wire

CONFIG = """
[plugins.roles.web]
look = "all"
labels = { team = "web" }
"""


@pytest.fixture(scope="module")
def shared(start_agent: "Callable[..., RunningAgent]") -> "RunningAgent":
    """An agent with a role for the jobs of one team."""
    return start_agent(config=CONFIG + FOR_OTHERS)


async def test_a_follower(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """Its connection ends, and over a new one it finds no such job; another follower goes on."""
    token = (await wire.ask("token.create", name="follower", roles=["web"]))["token"]
    spec = {"shell": "read line < /dev/null; sleep 600", "labels": {"team": "web"}}
    job = (await wire.ask("job.run", spec=spec))["job"]["id"]
    async with dial(shared, token=token) as moved, dial(shared, token=token) as idle:
        await moved.subscribe(job)
        await wire.ask("job.update", id=job, labels={"team": "web", "more": "yes"})
        assert await moved.ask("agent.ping")
        await wire.ask("job.update", id=job, labels={"team": "ops"})
        assert await moved.closed() == 1011
        assert await idle.ask("agent.ping")
        assert (await idle.refused("log.subscribe", id=job))["code"] == 40401
    await wire.ask("job.stop", id=job)
    await wire.ask("token.revoke", name="follower")


async def test_a_waiter(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """It does not get how the job ended."""
    token = (await wire.ask("token.create", name="waiter", roles=["web"]))["token"]
    job = (await wire.ask("job.run", spec={"argv": ["sleep", "600"], "labels": {"team": "web"}}))["job"]["id"]
    async with dial(shared, token=token) as waiter:
        waiting = asyncio.create_task(waiter.refused("job.wait", id=job))
        while not waiter.connection.protocol.writes and not waiting.done():
            await asyncio.sleep(0)
            break
        await waiter.connection.ping()
        await wire.ask("job.update", id=job, labels={})
        await wire.ask("job.stop", id=job)
        assert (await waiting)["code"] == 40401
    await wire.ask("token.revoke", name="waiter")


@pytest.mark.parametrize(
    "labels", [{"a\0": "b"}, {"a": "b\0"}, {"a": "\x1b[2J"}, {"a\n": "b"}, {"a": "\u202eb"}], ids=ascii
)
async def test_labels_that_do_not_print(wire: "Wire", labels: dict[str, str]) -> None:
    """NUL, control and bidi characters in labels are refused, when a job is created and when it is changed."""
    refused = await wire.refused("job.create", spec={"argv": ["true"], "labels": labels})
    assert (refused["code"], refused["data"]["field"]) == (40001, "labels")
    job = await wire.create(argv=["true"], labels={"a": "völlig normal ✓"})
    assert (await wire.refused("job.update", id=job, labels=labels))["data"]["field"] == "labels"
