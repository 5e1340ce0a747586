"""Clients that are gone in the middle of something leave nothing that harms others."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE
from tests.support.wire import vanish
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Gate, Wire

pytestmark = pytest.mark.usefixtures("unharmed")


async def test_in_the_middle_of_a_request(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """A wait, a stop and half a message: the job is stopped all the same, others are answered."""
    job = await wire.run(shell="trap '' TERM; echo up; while :; do sleep 1000; done", stop={"grace": "200ms"})
    await wire.until(await wire.subscribe(job["id"]), b"up\n")
    async with dial(shared) as client:
        for _ in range(20):
            await client.begin("job.wait", id=job["id"])
        await client.begin("job.stop", id=job["id"])
        while (await wire.ask("job.status", id=job["id"]))["state"] == "running":
            pass
        await vanish(client)
    assert (await wire.ask("job.wait", id=job["id"]))["exit"]["reason"] == "stopped"
    async with dial(shared) as client:

        async def half() -> AsyncIterator[str]:
            yield '{"jsonrpc": "2.0", '
            await vanish(client)

        with pytest.raises(ConnectionClosed):
            await client.connection.send(half())


async def others_are_served(agent: "RunningAgent", dial: "Dial") -> None:
    """Connect and call a few times: by then the agent has noticed the clients that left before."""
    for _ in range(3):
        async with dial(agent) as wire:
            await wire.ask("agent.ping")


@pytest.mark.parametrize("method", ["job.start", "job.run"])
async def test_in_the_middle_of_a_start(shared: "RunningAgent", dial: "Dial", wire: "Wire", method: str) -> None:
    """A start whose caller is gone before the keeper has answered still becomes a running job that can be stopped."""
    keeper = (await wire.ask("agent.info"))["keeper"]["pid"]
    spec = {"shell": "echo first; exec sleep 1000"}
    job = await wire.ask("job.create", spec=spec, key=f"vanishing-{method}")
    name = await wire.subscribe(job["id"])
    os.kill(keeper, signal.SIGSTOP)
    try:
        async with dial(shared) as client:
            params = {"id": job["id"]} if method == "job.start" else {"spec": spec, "key": f"vanishing-{method}"}
            await client.begin(method, **params)
            await client.ask("agent.ping")  # the start is under way
            await vanish(client)
        await others_are_served(shared, dial)
    finally:
        os.kill(keeper, signal.SIGCONT)
    try:
        await wire.until(name, b"first\n")
        await wire.follow((await wire.ask("job.run", spec={"shell": ":"}))["subscription"])
        assert (await wire.ask("job.status", id=job["id"]))["state"] == "running"
        assert (await wire.refused("job.start", id=job["id"]))["code"] == 40901
    finally:
        stopped = await wire.answer(await wire.begin("job.stop", id=job["id"]))
    assert stopped["result"]["state"] == "exited"


async def test_in_the_middle_of_a_start_without_others(
    shared: "RunningAgent", dial: "Dial", wire: "Wire", gate: Callable[[], "Gate"]
) -> None:
    """The same without another subscriber of the job."""
    keeper = (await wire.ask("agent.info"))["keeper"]["pid"]
    door = gate()
    job = await wire.create(shell=f"{door.wait}; exit 6")
    os.kill(keeper, signal.SIGSTOP)
    try:
        async with dial(shared) as client:
            await client.begin("job.start", id=job)
            await client.ask("agent.ping")
            await vanish(client)
        await others_are_served(shared, dial)
    finally:
        os.kill(keeper, signal.SIGCONT)
    door.open()  # it runs
    await wire.follow((await wire.ask("job.run", spec={"shell": ":"}))["subscription"])  # so does the one after it
    ended = await wire.ask("job.wait", id=job, timeout=DEADLINE)
    assert (ended["exit"]["code"], ended["exit"]["reason"]) == (6, "finished")


async def test_during_the_login(shared: "RunningAgent", dial: "Dial") -> None:
    """Strangers that come and go without a word do not keep others out."""
    for _ in range(20):
        async with dial(shared, token=None) as stranger:
            await vanish(stranger)
    async with dial(shared) as wire:
        assert "time" in await wire.ask("agent.ping")
