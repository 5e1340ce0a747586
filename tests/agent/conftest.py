"""Agents that are refused, and plugins that misbehave, as distributions of their own."""

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.conftest import RunningAgent

from jobworker.client.local import wait_gone
from jobworker.paths import Home

DEADLINE = 15.0


@pytest.fixture
def refused(home: Home) -> Callable[..., str]:
    """Start an agent that must not start; return what it says, its exit code being 1."""

    def start(config: str | Path | None = None, folder: Path | None = None) -> str:
        arguments = [sys.executable, "-m", "jobworker", "--home", str(folder or home.path)]
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


def install_plugin(site: Path, name: str, source: str, module: str = "") -> None:
    """Put a module and the metadata of its distribution where Python finds them."""
    module = module or f"{name}_plugin"
    (site / f"{module}.py").write_text(textwrap.dedent(source))
    info = site / f"jobworker_{name.replace('-', '_')}-4.5.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: jobworker-{name}\nVersion: 4.5.6\n")
    (info / "entry_points.txt").write_text(f"[jobworker]\n{name} = {module}\n")


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
