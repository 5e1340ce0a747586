"""A real agent, or a keeper alone, on a state folder of its own of which nothing is left afterwards."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from jobworker.client.local import wait_gone
from jobworker.host.journal import Closed, Ended, Journal, StartFailed
from jobworker.host.keeper_link import KeeperLink
from jobworker.paths import Home
from jobworker.testing import RunningAgent

DEADLINE = 30.0  # seconds that a start or an end may take


class BenchmarkError(Exception):
    """What was measured is not what should have happened, so its figures mean nothing."""


def require(condition: bool, what: str) -> None:
    """Raise BenchmarkError with `what` unless the condition holds."""
    if not condition:
        raise BenchmarkError(what)


class Agent(RunningAgent):
    """A running agent; `pids` are its own, its keeper's and its pump's, by name."""

    def __init__(self, home: Home) -> None:
        super().__init__(home, under=["setsid"])  # Ctrl-C ends the benchmark, which then ends the agent and its jobs
        self.pids: dict[str, int] = {}


@contextlib.contextmanager
def state_folder() -> Iterator[Home]:
    """Make a state folder; remove it at the end, and its folder of sockets and FIFOs."""
    with tempfile.TemporaryDirectory(prefix="jobworker-bench-") as folder:
        home = Home(Path(folder) / "home")
        home.create()
        try:
            yield home
        finally:
            shutil.rmtree(home.run_folder(), ignore_errors=True)


@contextlib.asynccontextmanager
async def running_agent(config: str = "") -> AsyncIterator[Agent]:
    """Start an agent with this configuration; at the end shut it down with all of its jobs."""
    with state_folder() as home:
        if config:
            home.config.write_text(config)
        async with agent_on(home) as agent:
            yield agent


@contextlib.asynccontextmanager
async def agent_on(home: Home, program: list[str] | None = None) -> AsyncIterator[Agent]:
    """Start an agent on a state folder that stays; at the end shut it down with all of its jobs.

    `program`: the arguments of Python that start it.
    """
    agent = Agent(home)
    agent.program = program or agent.program
    await asyncio.to_thread(agent.start)
    try:
        async with agent.client() as client:
            keeper = (await client.call("agent.info"))["keeper"]
            agent.pids = {"agent": agent.pid, "keeper": keeper["pid"], "pump": keeper["pump"]}
        yield agent
    finally:
        await agent.clean()


class LoneKeeper:
    """A keeper and its pump, asked without an agent in between."""

    def __init__(self, home: Home) -> None:
        self._link = KeeperLink(home, home.create_run_folder(), self._read, lambda: None)
        self._journal = Journal(home.journal)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._half_over: set[str] = set()
        self._launched = 0

    async def open(self) -> None:
        await self._link.open()

    async def run(self, argv: list[str], **how: Any) -> None:
        """Launch a silent job; return when its exit and the end of its output are in the journal."""
        self._launched += 1
        job = f"{self._launched:012d}"
        over = self._waiting[job] = asyncio.get_running_loop().create_future()
        await self._link.ask("launch", id=job, argv=argv, env={"PATH": os.defpath}, cwd="/", **how)
        await over

    def _read(self) -> None:
        while records := self._journal.read():
            for record in records:
                match record:
                    case Ended(code=0) | Closed(size=0):
                        if record.id in self._half_over:
                            self._half_over.remove(record.id)
                            self._waiting.pop(record.id).set_result(None)
                        else:
                            self._half_over.add(record.id)
                    case Ended() | Closed() | StartFailed():
                        self._waiting.pop(record.id).set_exception(BenchmarkError(f"a bare launch: {record}"))
                    case _:
                        pass

    async def close(self) -> None:
        """Return when keeper and pump have left."""
        hello = await self._link.ask("hello")
        await self._link.ask("quit")
        for name, pid in (("keeper", hello["pid"]), ("pump", hello["pump"])):
            require(await asyncio.to_thread(wait_gone, pid, DEADLINE), f"the {name} does not leave")
        self._link.close()
        self._journal.close()


@contextlib.asynccontextmanager
async def lone_keeper() -> AsyncIterator[LoneKeeper]:
    """Start a keeper without an agent; at the end it leaves."""
    with state_folder() as home:
        keeper = LoneKeeper(home)
        await keeper.open()
        try:
            yield keeper
        finally:
            await keeper.close()
