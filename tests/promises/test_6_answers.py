"""Promise 6: the agent keeps answering while a plugin blocks its thread or a client floods it."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import RunningAgent
from tests.hostile import corpus, descriptors
from tests.hostile.messages import request
from tests.hostile.outcome import judge
from tests.hostile.raw import PING, TEXT, Raw, frame
from tests.support.wire import Dial

from jobworker.client import Client
from jobworker.model import JobSpec, StopSpec

BLOCKS = """
from jobworker import hookimpl

def block():
    open({gate!r}).read(1)  # until the test writes

class Stuck:
    name = "stuck"
    def check(self, options):
        if options:
            block()
    async def stop(self, job, options):
        block()
    def due(self, options, facts):
        block()
    async def authenticate(self, credentials):
        if credentials.scheme == "basic":
            block()

@hookimpl
def register_stop_strategies(context):
    return [Stuck()]

@hookimpl
def register_timeout_policies(context):
    return [Stuck()]

@hookimpl
def register_auth_providers(context):
    return [Stuck()]
"""
CONFIG = """
[auth]
providers = ["token", "stuck"]
[jobs]
grace = 0
stop_limit = "300ms"
[agent]
on_shutdown = "stop"
[plugins]
enabled = ["token", "roles", "graceful", "kill", "total", "stuck"]
"""
SLEEPS = ["sleep", "1000"]


@pytest.fixture
def let_go(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Let everything go on that is blocked, now and from now on."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    fds: list[int] = []

    def open_gate() -> None:
        fds.append(os.open(gate, os.O_RDWR))
        os.write(fds[0], b"x" * 1000)

    yield open_gate
    if not fds:
        open_gate()
    os.close(fds[0])


@pytest.fixture
def stuck(
    tmp_path: Path,
    let_go: Callable[[], None],
    plugin: Callable[[str, str], None],
    start: Callable[..., RunningAgent],
) -> RunningAgent:
    plugin("stuck", BLOCKS.format(gate=str(tmp_path / "gate")))
    return start(CONFIG)


async def state(client: Client) -> dict[str, Any]:
    plugins = (await client.call("agent.info"))["plugins"]
    return dict(next(each for each in plugins if each["name"] == "stuck"))


async def test_a_plugin_that_blocks_its_thread(stuck: RunningAgent, let_go: Callable[[], None]) -> None:
    """The job is killed in time; others stop by their own strategies; the plugin is named, and forgiven later."""
    async with stuck.client() as client:
        jobs = [await client.start((await client.create(JobSpec(argv=SLEEPS))).id) for _ in range(3)]
        stopping = asyncio.create_task(client.stop(jobs[0].id, StopSpec(strategy="stuck")))
        graceful = await client.stop(jobs[1].id, StopSpec(strategy="graceful", grace=10))
        assert graceful.exit is not None
        assert (graceful.exit.signal, graceful.exit.receipt and graceful.exit.receipt.steps[0].signal) == (
            "SIGTERM",
            "SIGTERM",
        )
        stopped = await stopping
        assert stopped.exit is not None
        assert stopped.exit.receipt is not None
        assert stopped.exit.signal == "SIGKILL"
        assert stopped.exit.receipt.steps[0].action == "strategy_failed"
        assert await state(client) | {"blocked": True, "faults": 1} == await state(client)
        again = await client.stop(jobs[2].id, StopSpec(strategy="stuck", grace=3600))  # it is not asked at all
        assert again.exit is not None
        assert again.exit.signal == "SIGKILL"
        let_go()
        while (await state(client))["blocked"]:
            pass


@pytest.mark.slow
async def test_hostile_input(tmp_path: Path) -> None:
    """No case ends a process, raises inside the agent, gets access, or disturbs other clients."""
    judge(await corpus.attack(tmp_path / "t", short=True))


@pytest.mark.slow
async def test_more_clients_than_descriptors(tmp_path: Path) -> None:
    """With more clients than files there is room for jobs, and for others as soon as some leave."""
    judge(await descriptors.use_up(tmp_path / "t", many=150))


async def test_tiny_frames_delay_no_other(shared: RunningAgent, dial: Dial) -> None:
    """A message in thousands of fragments is read in turns with those of others; too many close with 1009."""
    body = json.dumps(request("agent.ping")).encode().ljust(4000)
    pieces = [frame(0 if n else TEXT, body[n : n + 1], fin=n == 3_999) for n in range(4_000)]
    raw = await Raw.upgraded(shared, shared.token)
    await raw.say(b"".join(pieces))
    answer = await raw.answer()
    assert not isinstance(answer, int), answer
    assert "result" in answer
    await raw.say(frame(TEXT, b"{", fin=False) + frame(0, b"", fin=False) * 30_000)
    assert await raw.closed() == 1009
    raw.drop()


async def test_pings_of_a_client_that_does_not_read(shared: RunningAgent) -> None:
    """The pongs are not kept for ever: the connection is dropped."""
    raw = await Raw.upgraded(shared, shared.token)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(60):
        while not raw.writer.transport.is_closing():
            await raw.say(frame(PING, b"x" * 125) * 1000)
    raw.drop()
