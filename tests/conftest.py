"""What all tests share: a real agent on a state folder of its own, and clients of it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.authority import Authority
from tests.support.blind import BLIND
from tests.support.plugin_site import install_plugin
from tests.support.waiting import DEADLINE
from tests.support.wire_fixtures import dial, gate, second, shared, start_agent, unharmed, upgrade, wire

from jobworker import config
from jobworker.client import Client
from jobworker.client.local import wait_gone
from jobworker.errors import StartError
from jobworker.paths import Home
from jobworker.plugin import loader
from jobworker.testing import RunningAgent, jobworker_agent

FIXTURES = [dial, gate, jobworker_agent, second, shared, start_agent, unharmed, upgrade, wire]
__all__ = ["DEADLINE", "FIXTURES", "FOR_OTHERS", "RunningAgent"]

# As whom jobs run of those who are no admins: root would be for admins only.
FOR_OTHERS = '[jobs]\nuser = "nobody"\n' if os.geteuid() == 0 else ""

# A shell has what it starts in the background ignore Ctrl-C, and every process of a test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(params=[[], BLIND], ids=["cgroup", "sweep"])
async def either(home: Home, request: pytest.FixtureRequest) -> AsyncIterator[RunningAgent]:
    """An agent that finds processes by the best method that the host offers, and one that sweeps."""
    running = RunningAgent(home, under=request.param)
    running.start()
    yield running
    await running.clean()


@pytest.fixture
async def client(agent: RunningAgent) -> AsyncIterator[Client]:
    """A client with the role admin."""
    async with agent.client() as connected:
        yield connected


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority, for tests that only have it sign."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def refused(home: Home) -> Callable[..., str]:
    """Start an agent that must not start; return what it says, its exit code being 1."""

    def start(config: str | Path | None = None, folder: Path | None = None, more: Sequence[str] = ()) -> str:
        arguments = [sys.executable, "-m", "jobworker", "--home", str(folder or home.path), *more]
        if isinstance(config, str):
            path = home.path.parent / "agent.toml"
            path.write_text("[server]\nport = 0\n" + config if "[server]" not in config else config)
            config = path
        if config is not None:
            arguments += ["--config", str(config)]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert ended.returncode == 1, ended
        assert "Traceback" not in ended.stderr
        assert ended.stderr.startswith("jobworker: error: ")
        return ended.stderr

    return start


@pytest.fixture
def unfit(tmp_path: Path) -> Callable[[str], str]:
    """Return why no agent would start with this configuration, of which `refused` shows how it is told."""

    def reason(text: str) -> str:
        path = tmp_path / "agent.toml"
        path.write_text(text)
        with pytest.raises(StartError) as refused:
            loader.try_out(config.load(path), tmp_path)
        return refused.value.message

    return reason


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a module as the plugin of a distribution of its own, for the agents that this test starts."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(":"))

    return lambda name, source: install_plugin(site, name, source)


@pytest.fixture
async def start(home: Home) -> AsyncIterator[Callable[..., RunningAgent]]:
    """Start an agent with a configuration; it is cleaned up in the end."""
    started: list[RunningAgent] = []

    def run(config: str = "", *, local: bool = True) -> RunningAgent:
        agent = RunningAgent(home, config, local)
        agent.start()
        started[:] = [agent]
        return agent

    yield run
    for agent in started:
        await agent.clean()


@pytest.fixture
def gone() -> Callable[[int], "asyncio.Future[bool]"]:
    """Whether a process ends before the deadline."""
    return lambda pid: asyncio.ensure_future(asyncio.to_thread(wait_gone, pid, DEADLINE))


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
