"""What all tests share: a real agent on a state folder of its own, and clients of it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jobworker.client import Client, connect
from jobworker.client.local import agent_pid, wait_gone
from jobworker.paths import Home, appendable

# As whom jobs run of those who are no admins: root would be for admins only.
FOR_OTHERS = '[jobs]\nuser = "nobody"\n' if os.geteuid() == 0 else ""
DEADLINE = 20.0  # seconds that anything here may take; a test that needs it has failed


@dataclass
class RunningAgent:
    """An agent in a process of its own, and what it takes to reach it."""

    home: Home
    config: str = ""
    local: bool = True
    under: list[str] = field(default_factory=list)  # a command that executes its arguments
    program: list[str] = field(default_factory=lambda: ["-m", "jobworker.app"])
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        """Start it and return when it listens; fail with what it says where it does not."""
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
            said = pipe.read().decode()
        assert said == "ready\n", said

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
    def token(self) -> str:
        return self.home.local_token.read_text().strip()

    @property
    def ca(self) -> Path:
        return self.home.tls / "ca.pem"

    def client(self, token: str | None = None) -> Client:
        return connect(self.address, token=token or self.token, ca=self.ca)

    def kill(self) -> None:
        """Kill the agent, and nothing else, as kill -9 does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell the agent to end and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    async def clean(self) -> None:
        """Leave nothing behind: stop all jobs, then agent, keeper and pump."""
        if agent_pid(self.home) is None:
            if self.process is not None:
                self.process.wait()
            self.start()
        async with self.client() as client:
            keeper = (await client.call("agent.info"))["keeper"]
            await client.call("agent.shutdown", jobs="stop")
        assert self.process is not None
        await asyncio.to_thread(self.process.wait, DEADLINE)
        for pid in filter(None, (keeper["pid"], keeper["pump"])):
            assert await asyncio.to_thread(wait_gone, pid, DEADLINE), "keeper and pump leave with the last job"
        run = self.home.run_folder()
        for name in (*run.glob("fifo/*"), *run.glob("*.sock"), *run.glob("*.lock")):
            name.unlink()
        if run.exists():
            (run / "fifo").rmdir()
            run.rmdir()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
async def agent(home: Home) -> AsyncIterator[RunningAgent]:
    """A running agent with the default configuration."""
    running = RunningAgent(home)
    running.start()
    yield running
    await running.clean()


@pytest.fixture
async def client(agent: RunningAgent) -> AsyncIterator[Client]:
    """A client with the role admin."""
    async with agent.client() as connected:
        yield connected


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system in memory with the options given, as `size=512k`, and return where."""
    folder = tmp_path / "mounted"

    def mount(options: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no test reach the agent of whoever runs the tests."""
    for name in (
        "JW_ADDRESS",
        "JW_TOKEN",
        "JW_CA",
        "JW_CERT",
        "JW_KEY",
        "JW_PIN",
        "JW_INSECURE",
        "JW_CONTEXT",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JOBWORKER_HOME", str(tmp_path / "home"))
