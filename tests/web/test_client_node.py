"""The JavaScript client in Node.js, as `npm pack` makes it, against a real agent."""

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from docs import javascript_client
from tests.support.waiting import DEADLINE

from jobworker import __version__
from jobworker.testing import RunningAgent

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "browser-client.md"
SCRIPTS = Path(__file__).parent / "client"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="node or npm is not installed"
)
PIECES, PIECE_BYTES = 200, 100_000
WRITE = f"""
import random, sys, time
random.seed(7)
for _ in range({PIECES}):
    sys.stdout.buffer.write(random.randbytes({PIECE_BYTES}))
    sys.stdout.flush()
    time.sleep(0.005)
"""


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, and the package as `npm pack` makes it in its node_modules."""
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder)]
    subprocess.run(command, cwd=javascript_client.FOLDER, check=True, stdout=subprocess.DEVNULL, timeout=DEADLINE)
    (packed,) = folder.glob("*.tgz")
    modules = folder / "node_modules"
    modules.mkdir()
    subprocess.run(["tar", "-xzf", packed, "-C", modules], check=True)
    (modules / "package").rename(modules / "jobworker")
    for script in SCRIPTS.iterdir():
        shutil.copy(script, folder)
    return folder


@pytest.fixture(scope="module")
def agent_of_module(start_agent: Callable[..., RunningAgent]) -> RunningAgent:
    return start_agent(config='[server]\norigins = ["https://ops.example.org"]\n')


@pytest.mark.parametrize("name", javascript_client.FILES)
def test_the_types_are_those_of_the_agent(name: str) -> None:
    text = (javascript_client.FOLDER / name).read_text()
    assert text == javascript_client.FILES[name](), "run python docs/generate.py"


def test_the_package_has_the_version_of_the_agent() -> None:
    described = json.loads((javascript_client.FOLDER / "package.json").read_text())
    assert described["version"] == __version__


@needs_node
def test_calls_and_processes(agent_of_module: RunningAgent, node_folder: Path) -> None:
    """client/calls.mjs: each method is there, spawn, logs, events, errors, what happens at the end of a session."""
    command = ["node", "calls.mjs", str(agent_of_module.home.path)]
    done = subprocess.run(command, cwd=node_folder, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.stdout, done.returncode) == ("all is well\n", 0), done.stderr


@needs_node
def test_a_follow_survives_a_killed_agent(agent_of_module: RunningAgent, node_folder: Path) -> None:
    """Of 20 MB that are written meanwhile, no byte is lost or comes twice, and nobody has to connect again."""
    agent = agent_of_module
    job = agent.jw("run", "-d", "--", sys.executable, "-c", WRITE).stdout.strip()
    command = ["node", "follow.mjs", str(agent.home.path), job]
    lines = []
    with subprocess.Popen(command, cwd=node_folder, stdout=subprocess.PIPE, text=True) as follow:
        assert follow.stdout is not None
        for line in follow.stdout:
            lines.append(line.strip())
            if lines[-1] == "half":
                agent.kill()
                agent.start()
        assert follow.wait(DEADLINE) == 0
    random.seed(7)
    expected = hashlib.sha256(b"".join(random.randbytes(PIECE_BYTES) for _ in range(PIECES))).hexdigest()
    assert lines[-2:] == [f"sha256 {expected}", "state closed"], lines
    assert lines.count("state reconnecting") == 1, lines
    assert not [line for line in lines if line.startswith("byte")]


@needs_node
def test_the_examples_of_the_page(agent_of_module: RunningAgent, node_folder: Path) -> None:
    """Each program on the page runs and prints what it should."""
    agent = agent_of_module
    (node_folder / "Makefile").write_text("test:\n\t@echo tested\n")
    environment = os.environ | {
        "JOBWORKER_HOME": str(agent.home.path),
        "JW_ADDRESS": agent.address,
        "JW_TOKEN": agent.token,
        "JW_CA": str(agent.ca),
    }
    examples = re.findall(r"(?ms)^```js\n(.*?)^```", PAGE.read_text())
    printed = []
    for example in examples:
        script = node_folder / "example.mjs"
        script.write_text(example.replace('"/src"', f'"{node_folder}"'))
        done = subprocess.run(
            ["node", script], env=environment, capture_output=True, text=True, timeout=DEADLINE, check=True
        )
        printed.append(done.stdout)
    assert printed[0] == "tested\nmake: finished, 0\n"
    assert re.search(r"(?m)^\w+ exited make?$|^\w+ exited $", printed[1])
    assert re.fullmatch(r"\S{20,}\n", printed[2])
