"""A plugin that blocks its thread: it slows its own calls, and nobody else's."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobworker.client import Client
from jobworker.model import JobSpec, StopSpec

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

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
def let_go(tmp_path: Path) -> "Iterator[Callable[[], None]]":
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
    start: "Callable[..., RunningAgent]",
) -> "RunningAgent":
    plugin("stuck", BLOCKS.format(gate=str(tmp_path / "gate")))
    return start(CONFIG)


async def state(client: Client) -> dict[str, Any]:
    plugins = (await client.call("agent.info"))["plugins"]
    return dict(next(each for each in plugins if each["name"] == "stuck"))


async def test_a_stop_strategy(stuck: "RunningAgent", let_go: Callable[[], None]) -> None:
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
