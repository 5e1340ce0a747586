"""An agent with an executor whose engine is this host; each test has all switches of the engine off."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.plugin_site import BUILT_IN, install_plugin
from tests.support.process_executor import Engine

from jobworker.client import Client
from jobworker.paths import Home
from jobworker.testing import RunningAgent

ROOT = Path(__file__).parents[2]
SOURCE = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from jobworker.interfaces import hookimpl
from tests.support.process_executor import ProcessExecutor

@hookimpl
def register_executors(context):
    return [ProcessExecutor(Path({engine!r}), Path({folder!r}))]
"""
CONFIG = f"""
[plugins]
enabled = [{BUILT_IN}, "process"]
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that agent and nodes share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def module_agent(tmp_path_factory: pytest.TempPathFactory, engine: Engine, shared: Path) -> Iterator[RunningAgent]:
    folder = tmp_path_factory.mktemp("agent")
    source = SOURCE.format(root=str(ROOT), engine=str(engine.folder), folder=str(shared))
    install_plugin(folder, "process", source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        agent = RunningAgent(Home(folder / "home"), CONFIG)
        agent.start()
        yield agent
        asyncio.run(agent.clean())


@pytest.fixture
def agent(module_agent: RunningAgent, engine: Engine) -> Iterator[RunningAgent]:
    """The agent of the module, which a test may kill; it runs again for the next one."""
    yield module_agent
    for path in engine.switches.iterdir():
        path.unlink()
    if module_agent.process is not None and module_agent.process.poll() is not None:
        module_agent.start()


@pytest.fixture
async def client(agent: RunningAgent) -> AsyncIterator[Client]:
    async with agent.client() as client:
        yield client
