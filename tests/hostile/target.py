"""The agent that is attacked, what can be seen of it from outside, and the good user beside it."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import FOR_OTHERS, RunningAgent
from tests.hostile import good, watched
from tests.hostile.outcome import Outcome

from jobworker.paths import Home

TICKS = os.sysconf("SC_CLK_TCK")
STORED = ("jobs.db",)  # where the values of specs are meant to be: the spec is the record


class Target:
    """An agent with its processes; at its end it must be the same processes, without a traceback or a secret."""

    def __init__(self, path: Path, outcome: Outcome, *, config: str = "", under: list[str] | None = None) -> None:
        path.mkdir(parents=True)
        self.outcome = outcome
        self.agent = RunningAgent(
            Home(path / "home"), config=FOR_OTHERS + config, under=under or [], program=[watched.__file__]
        )
        self.secrets: set[str] = set()  # that were presented, and must be nowhere
        self.values: set[str] = set()  # of specs: only in the job table
        self._pids: tuple[int, ...] = ()

    async def __aenter__(self) -> "Target":
        await asyncio.to_thread(self.agent.start)
        self._pids = await self.pids()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._judge(await self.pids())
        finally:
            await self.agent.clean()
        if kind is None:
            self._look_for_secrets()

    async def pids(self) -> tuple[int, ...]:
        async with self.agent.client() as client:
            info = await client.call("agent.info")
        return info["pid"], info["keeper"]["pid"], info["keeper"]["pump"]

    def _judge(self, pids: tuple[int, ...]) -> None:
        self.outcome.require(pids == self._pids, f"other processes than before: {self._pids}, now {pids}")
        for name in (self.agent.home.agent_log, self.agent.home.keeper_log):
            text = name.read_text(errors="replace") if name.exists() else ""
            count = text.count("Traceback (most recent call last)")
            last = text[text.rfind("Traceback (most") :].splitlines() if count else []
            raised = next((line for line in last[1:] if line and not line.startswith(" ")), "")
            self.outcome.require(not count, f"{count} tracebacks in {name.name}, the last: {raised}")

    def _look_for_secrets(self) -> None:
        self.secrets.add(self.agent.token)
        for path, text in self.files():
            wanted = self.secrets if path.name.startswith(STORED) else self.secrets | self.values
            if path == self.agent.home.local_token:
                wanted = wanted - {self.agent.token}
            for secret in wanted:
                self.outcome.require(secret.encode() not in text, f"a secret stands in {path.name}: {secret[:12]}…")

    def files(self) -> Iterator[tuple[Path, bytes]]:
        for path in self.agent.home.path.rglob("*"):
            if path.is_file():
                yield path, path.read_bytes()

    async def token(self, name: str, *roles: str) -> str:
        """Return a new token: whoever finds it in a file has found a fault."""
        async with self.agent.client() as client:
            token = str((await client.call("token.create", name=name, roles=list(roles)))["token"])
        self.secrets.add(token)
        return token

    def private_bytes(self) -> int:
        """Return how much memory the agent has for itself."""
        text = Path(f"/proc/{self.agent.pid}/smaps_rollup").read_text()
        return sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Private_"))

    def pause(self) -> float:
        """Return the longest pause of the agent's loop so far, in seconds."""
        path = self.agent.home.path / "pause"
        return float(path.read_text()) if path.exists() else 0.0

    def cpu(self) -> float:
        """Return the seconds of CPU that the agent has used."""
        fields = Path(f"/proc/{self.agent.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


class Good:
    """The good user at work: `laps` holds what it was like, by the names given to `lap`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.laps: dict[str, good.Lap] = {}

    async def __aenter__(self) -> "Good":
        token = await self._target.token("good", "writer")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            good.__file__,
            self._target.agent.address,
            str(self._target.agent.ca),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 30,
        )
        await self._say(token)
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._process.kill()
            await self._process.wait()
            return
        told: dict[str, Any] = json.loads(await self._say(""))
        await self._process.wait()
        self.laps = {name: good.Lap(**lap) for name, lap in told.items()}
        for name, lap in self.laps.items():
            what = f"the good user, {name}: {len(lap.wrong)} times wrong, first {lap.wrong[:1]}"
            self._target.outcome.require(not lap.wrong, what)
            self._target.outcome.require(bool(lap.pings and lap.jobs), f"the good user, {name}: nothing was done")

    async def lap(self, name: str) -> None:
        await self._say(name)

    async def _say(self, line: str) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()
        return await self._process.stdout.readline()
