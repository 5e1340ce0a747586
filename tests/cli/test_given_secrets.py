"""The secrets that `jw run` and `jw mcp` give to jobs: from here, or by name from the agent."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from tests.conftest import DEADLINE, RunningAgent

from jobworker.config import BUILT_IN


@pytest.fixture(scope="module")
def agent(start_agent: Callable[..., RunningAgent], tmp_path_factory: pytest.TempPathFactory) -> RunningAgent:
    """An agent that has a secret of its own."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "db").write_text("of-the-Host-31\n")
    plugins = f'[plugins]\nenabled = {[*BUILT_IN, "secrets"]}\n[plugins.secrets]\nfolder = "{folder}"\n'
    return start_agent(config=plugins)


def test_from_here_and_from_the_agent(agent: RunningAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By --secret and --secret-file: of a variable, of a file, of a provider; --debug shows none."""
    given = tmp_path / "given"
    given.write_text("of-a-File-32\n")
    monkeypatch.setenv("HERE", "of-a-Variable-33")
    names = (
        "--secret",
        "HERE",
        "--secret",
        "A=file:db",
        "--secret-file",
        f"F=@{given}",
        "--secret-file",
        "G=file:db",
    )
    shell = 'echo "$HERE $A" ${#HERE} ${#A}; cat "$F" "$G"; wc -c < "$F"; stat -c %a "$F" "$G"'
    done = agent.jw("--debug", "run", *names, "--", "sh", "-c", shell)
    assert (done.returncode, done.stdout) == (0, "*** *** 16 14\n******12\n600\n600\n"), done
    for value in ("of-the-Host-31", "of-a-File-32", "of-a-Variable-33"):
        assert value not in done.stderr
    for wrong in ("G", "G=value", "1=@x", f"F=@{tmp_path}/nothing"):
        refused = agent.jw("run", "--secret-file", wrong, "--", "true")
        assert (refused.returncode, "--secret-file" in refused.stderr) == (2, True), refused


async def test_from_a_model(agent: RunningAgent) -> None:
    """A model names secrets of the agent; what it takes for a value is refused and not repeated."""
    env = {"JOBWORKER_HOME": str(agent.home.path), "PATH": os.environ["PATH"]}
    server = StdioServerParameters(command=sys.executable, args=["-m", "jobworker_cli", "mcp"], env=env)
    async with Client(server, read_timeout_seconds=DEADLINE) as client:
        run = {"command": 'echo "$A" ${#A}; cat "$F"', "secrets": {"A": "file:db"}, "secret_files": {"F": "file:db"}}
        done = await client.call_tool("run", run)
        assert done.structured_content["output"]["text"] == "*** 14\n***"
        for field, text in (("secrets", "a-Value-34"), ("secret_files", "a-Value:-34"), ("secrets", ":a-Value-34")):
            refused = await client.call_tool("run", {"command": "true", field: {"A": text}})
            assert refused.is_error
            assert f"{field}.A: expected PROVIDER:NAME" in str(refused.content)
            assert "a-Value" not in str(refused)
        refused = await client.call_tool("run", {"command": "true", "secrets": {"A": "file:nope"}})
        assert "secrets.A: file has no secret" in str(refused.content)
