"""The examples of the pages are executed as they stand there, and do what the page shows."""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import FOR_OTHERS
from tests.support.waiting import DEADLINE
from websockets.asyncio.client import connect as websocket_connect

from jobworker.client.local import agent_pid, wait_gone
from jobworker.paths import Home

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *(ROOT / "docs").rglob("*.md")]
# tests/plugins/test_distributions.py and test_first_day.py follow these pages from first to last line.
ELSEWHERE = {ROOT / "docs" / "how-to" / name for name in ("write-a-plugin.md", "first-day.md")}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def pages_with(language: str) -> list[Any]:
    """Return the pages that have such examples, as parameters of a test."""
    pages = [page for page in PAGES if page not in ELSEWHERE and blocks(page, language)]
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def test_pages_with_examples() -> None:
    """The tests below find the examples."""
    consoles = {page.id for page in pages_with("console")}
    assert {"README.md", "docs/tutorial.md", "docs/how-to/users-and-roles.md", "docs/reference/cli.md"} <= consoles
    assert pages_with("jsonc")
    assert pages_with("js")


@pytest.fixture
def shell(home: Home, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which `jw` is ours and its agent is ended afterwards."""
    if os.geteuid() == 0:  # as the pages require of an agent that runs as root
        home.path.mkdir(mode=0o700)
        home.config.write_text(FOR_OTHERS)
    binaries = Path(sys.executable).parent
    yield {
        "PATH": f"{binaries}:/usr/bin:/bin",
        "JOBWORKER_HOME": str(home.path),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
    }
    pid = agent_pid(home)
    subprocess.run([binaries / "jw", "agent", "stop", "--jobs"], env={"JOBWORKER_HOME": str(home.path)}, check=True)
    assert pid is None or wait_gone(pid, DEADLINE)


@pytest.fixture
def workplace() -> Iterator[Path]:
    """A folder that jobs of any user may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def matches(expected: str, said: str) -> bool:
    """Whether the lines are the expected ones: `…` stands for anything, also for whole lines."""
    pattern = ""
    for line in expected.splitlines():
        pattern += r"(?:.*\n)*?" if line.strip() == "…" else ".*?".join(map(re.escape, line.split("…"))) + "\n"
    # Columns are as wide as their content: one space stands for any number.
    return re.fullmatch(pattern.replace(r"\ ", r"\ +"), said) is not None


@pytest.mark.parametrize("page", pages_with("console"))
def test_commands_print_what_the_page_shows(page: Path, shell: dict[str, str], workplace: Path) -> None:
    """All console blocks of a page, in order, in one shell."""
    session = "\n".join(blocks(page, "console"))
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE)
    assert steps
    mark = "= end of step ="
    script = "\n".join(f"{command}\ncode=$?; echo; echo '{mark}'; (exit $code)" for command, _ in steps)
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}"],
        env=shell,
        cwd=workplace,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    outputs = done.stdout.decode().split(f"\n{mark}\n")
    for (command, expected), said in zip(steps, outputs, strict=False):
        assert matches(expected.rstrip("\n") + "\n" if expected.strip() else "", said), f"$ {command}\n{said}"


def pattern_of(line: str) -> Any:
    return json.loads(line.replace("…", '"…": "…"'))


def hold_against(pattern: Any, value: Any, names: dict[str, Any]) -> None:
    """Assert that a frame is as shown; `ID` is bound to the first value it stands for."""
    if isinstance(pattern, dict) and isinstance(value, dict):
        open_ended = "…" in pattern
        wanted = {key: item for key, item in pattern.items() if key != "…"}
        assert wanted.keys() <= value.keys() if open_ended else wanted.keys() == value.keys(), (pattern, value)
        for key, item in wanted.items():
            hold_against(item, value[key], names)
    elif pattern == "ID":
        assert names.setdefault("ID", value) == value
    else:
        assert pattern == value


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "jsonc")])
async def test_frames_are_those_that_the_page_shows(block: str, agent: Any) -> None:
    """Each `→` is sent, each `←` is the next frame that comes, notifications apart from answers."""
    block = re.sub(r"\n +", " ", block)  # a frame may stand on several lines
    context = ssl.create_default_context(cafile=agent.ca)
    headers = {"Authorization": f"Bearer {agent.token}"}
    names: dict[str, Any] = {}
    heard: list[dict[str, Any]] = []
    async with websocket_connect(agent.address, ssl=context, additional_headers=headers) as socket:
        if '"s2"' in block:  # the second subscription of a reader who typed all of it into one connection
            await socket.send(
                json.dumps({"jsonrpc": "2.0", "id": 0, "method": "job.run", "params": {"spec": {"argv": ["true"]}}})
            )
            while json.loads(await socket.recv()).get("method") != "log.end":
                pass
        for line in block.splitlines():
            kind, _, text = line.partition(" ")
            pattern = pattern_of(text)
            if kind == "→":
                await socket.send(json.dumps(pattern).replace('"ID"', json.dumps(names.get("ID"))))
                continue
            wanted = pattern.get("id"), pattern.get("method")
            while not (found := [frame for frame in heard if (frame.get("id"), frame.get("method")) == wanted]):
                heard.append(json.loads(await socket.recv()))
            heard.remove(found[0])
            hold_against(pattern, found[0], names)


def test_the_python_examples_print_what_the_page_shows(shell: dict[str, str]) -> None:
    """Each is followed by what it prints."""
    page = (ROOT / "docs" / "how-to" / "python-client.md").read_text()
    examples = re.findall(r"(?ms)^```python\n(.*?)^```\n\n```text\n(.*?)^```", page)
    assert len(examples) == page.count("```python\n") >= 6
    for code, expected in examples:
        done = subprocess.run(
            [sys.executable, "-c", code], env=shell, capture_output=True, text=True, timeout=DEADLINE, check=True
        )
        assert matches(expected, done.stdout), code + done.stdout


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("page", pages_with("js"))
def test_the_javascript_is_javascript(page: Path, tmp_path: Path) -> None:
    """Its syntax at least; tests/web runs what is on the page of the client."""
    for number, block in enumerate(blocks(page, "js")):
        script = tmp_path / f"example{number}.mjs"
        script.write_text(block)
        subprocess.run(["node", "--check", script], check=True, timeout=DEADLINE)
