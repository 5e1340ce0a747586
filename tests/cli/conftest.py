"""The real `jw` as processes of its own, against one agent for all tests that do not need theirs."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

import pytest
from tests.conftest import DEADLINE, RunningAgent
from tests.support.jw_starter import Starter
from tests.support.window import Window

from jobworker.client import Client
from jobworker.client.local import agent_pid, local_endpoint, wait_gone
from jobworker.paths import Home, default_home

COMMAND = [sys.executable, "-m", "jobworker_cli"]


class Running:
    """A `jw` that runs: what it writes is collected, and can be waited for."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | env,
            start_new_session=True,
        )
        self.said = {"stdout": b"", "stderr": b""}
        self._news = threading.Condition()
        assert self.process.stdout
        assert self.process.stderr
        pipes = {"stdout": self.process.stdout, "stderr": self.process.stderr}
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in pipes.items()]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            while data := os.read(pipe.fileno(), 65536):
                with self._news:
                    self.said[name] += data
                    self._news.notify_all()

    def wait_for(self, pattern: bytes, stream: str = "stdout") -> re.Match[bytes]:
        """Return the match as soon as the stream has it."""
        with self._news:
            found = self._news.wait_for(lambda: re.search(pattern, self.said[stream]), DEADLINE)
        assert found, self.said
        return found

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Signal the whole process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def end(self) -> int:
        """Return the exit code, when all output is there."""
        code = self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        return code


class Jw:
    """Call it for a finished `jw`; `start` one that runs."""

    def __init__(self, starter: Starter | None = None) -> None:
        self._starter = starter
        self._running: list[Running] = []

    def __call__(self, *arguments: str, cwd: str | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
        environ = os.environ | env
        if self._starter is not None and self._starter.fits(environ):
            return self._starter.run(arguments, environ, cwd, DEADLINE)
        return subprocess.run(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=cwd,
            env=environ,
            check=False,
        )

    def out(self, *arguments: str) -> str:
        """Return the stdout, stripped, of a `jw` that must succeed."""
        done = self(*arguments)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def start(self, *arguments: str, **env: str) -> Running:
        self._running.append(Running(*arguments, **env))
        return self._running[-1]

    def call(self, method: str, **params: Any) -> Any:
        """Call a method without `jw`, for what a test only needs on its way."""

        async def call() -> Any:
            async with Client(lambda: local_endpoint(Home(default_home()))) as client:
                return await client.call(method, **params)

        return asyncio.run(call())

    def job(self, name: str) -> Any:
        """Return the newest job of that name."""
        return next(job for job in self.call("job.list", limit=1000)["jobs"] if job["name"] == name)

    def kill(self, name: str) -> None:
        self.call("job.stop", id=self.job(name)["id"], stop={"strategy": "kill"})

    def close(self) -> None:
        for running in self._running:
            running.process.kill()
            running.end()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """One agent for many tests: each names its own jobs."""
    running = RunningAgent(Home(tmp_path_factory.mktemp("cli") / "home"))
    running.start()
    yield running
    asyncio.run(running.clean())


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    starter = Starter(tmp_path_factory.mktemp("starter"))
    yield starter
    starter.close()


@pytest.fixture
def jw(shared: RunningAgent, starter: Starter, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jw]:
    """`jw` with the shared agent as its local agent."""
    monkeypatch.setenv("JOBWORKER_HOME", str(shared.home.path))
    jw = Jw(starter)
    yield jw
    jw.close()


@pytest.fixture
def lone_jw(home: Home, starter: Starter) -> Iterator[Jw]:
    """`jw` with a home of its own, in which no agent runs yet; it is removed afterwards."""
    jw = Jw(starter)
    yield jw
    jw.close()
    if agent_pid(home) is None:
        jw("agent", "start")
    keeper = jw.call("agent.info")["keeper"]
    assert jw("agent", "stop", "--jobs").returncode == 0
    assert agent_pid(home) is None
    for pid in keeper.values():
        assert wait_gone(pid, DEADLINE), "keeper and pump leave with the last job"
    run = home.run_folder()
    assert not run.exists(), "agent and keeper remove it"


@pytest.fixture
def window(jw: "Jw") -> Iterator[Callable[..., Window]]:
    """Open windows for this test."""
    windows: list[Window] = []

    def open_(*arguments: str, **size: int) -> Window:
        windows.append(Window(*arguments, **size))
        return windows[-1]

    yield open_
    for each in windows:
        each.close()
