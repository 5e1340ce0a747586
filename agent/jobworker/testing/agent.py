"""Run a real agent, in a process of its own and a temporary folder."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from jobworker.client import Client, connect
from jobworker.client.local import agent_pid, wait_gone
from jobworker.config import BUILT_IN
from jobworker.paths import Home, appendable
from jobworker.testing.deadlines import DEADLINE


@dataclass
class RunningAgent:
    """An agent in a process of its own, with its address and credentials.

    `config` is the text of its configuration, in TOML. `under` is a command that executes the rest of its arguments,
    such as `strace`; `program` are the arguments of Python that name the program.
    """

    home: Home
    config: str = ""
    local: bool = True  # as `jw` starts it: with any free port and a token of its own
    under: list[str] = field(default_factory=list)
    program: list[str] = field(default_factory=lambda: ["-m", "jobworker"])
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        """Start the agent and return when it listens; raise AssertionError with its message if it does not start."""
        self.home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        arguments = [*self.under, sys.executable, *self.program, "--home", str(self.home.path)]
        if self.local:
            arguments.append("--local")
        if self.config:
            config = self.home.path / "test.toml"
            config.write_text(self.config)
            arguments += ["--config", str(config)]
        reader, writer = os.pipe()
        with open(appendable(self.home.agent_log), "ab") as log:
            self.process = subprocess.Popen(
                [*arguments, "--ready", str(writer)], pass_fds=[writer], stdout=log, stderr=log
            )
        os.close(writer)
        with open(reader, "rb") as pipe:
            message = pipe.read().decode()
        if message != "ready\n":
            self.process.wait(DEADLINE)
            raise AssertionError(f"the agent did not start: {message}")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def address(self) -> str:
        return str(json.loads(self.home.address.read_text())["address"])

    @property
    def port(self) -> int:
        return int(json.loads(self.home.address.read_text())["port"])

    @property
    def url(self) -> str:
        """The address of the page in the browser, without a slash at its end."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """A token with the role admin."""
        return self.home.local_token.read_text().strip()

    @property
    def ca(self) -> Path:
        return self.home.tls / "ca.pem"

    def client(self, token: str | None = None) -> Client:
        """Return a client, to be entered with `async with`; it logs in with the token, by default an admin's."""
        return connect(self.address, token=token or self.token, ca=self.ca)

    def jw(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `jw` against this agent; return its exit code and its output."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("JW_")}
        env["JOBWORKER_HOME"] = str(self.home.path)
        command = [sys.executable, "-m", "jobworker_cli", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=DEADLINE)

    def kill(self) -> None:
        """Kill the agent, as kill -9 does; keeper, pump and jobs run on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the agent a signal to end, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    async def clean(self) -> None:
        """Stop all jobs, the agent, the keeper and the pump, and remove the run folder."""
        if agent_pid(self.home) is None:
            if self.process is not None:
                self.process.wait()
            self.start()  # only an agent can stop the jobs of one that was killed
        async with self.client() as client:
            keeper = (await client.call("agent.info"))["keeper"]
            await client.call("agent.shutdown", jobs="stop")
        assert self.process is not None
        await asyncio.to_thread(self.process.wait, DEADLINE)
        run = self.home.run_folder()
        for role in ("pid", "pump"):
            pid = keeper[role]
            if pid and not await asyncio.to_thread(wait_gone, pid, DEADLINE):
                pipes = [path.name for path in run.glob("fifo/*")]
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                raise AssertionError(
                    f"process {pid} (keeper.{role}) still runs, with the pipes {pipes} and the children {children};"
                    " expected it to end with the last job"
                )
        for name in (*run.glob("fifo/*"), *run.glob("*.sock"), *run.glob("*.lock")):
            name.unlink(missing_ok=True)
        for place in (run / "fifo", run):
            if place.exists():  # keeper and agent remove them at their ends, unless they were killed
                place.rmdir()


class StartAgent(Protocol):
    """The type of `jobworker_agent`.

    `plugins` are enabled besides those that come with jobworker; `config` is TOML without `plugins.enabled`.
    """

    def __call__(self, config: str = "", *, plugins: Sequence[str] = ()) -> RunningAgent: ...


@pytest.fixture
def jobworker_agent(tmp_path: Path) -> Iterator[StartAgent]:
    """Return a function that starts an agent in a temporary folder; all agents and jobs end after the test."""
    started: list[RunningAgent] = []

    def start(config: str = "", *, plugins: Sequence[str] = ()) -> RunningAgent:
        enabled = json.dumps([*BUILT_IN, *plugins])
        agent = RunningAgent(Home(tmp_path / f"agent{len(started)}"), f"{config}\n[plugins]\nenabled = {enabled}\n")
        agent.start()
        started.append(agent)
        return agent

    yield start
    for agent in started:
        asyncio.run(agent.clean())
