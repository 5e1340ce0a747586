"""What a command imports decides how long it takes: a one-shot command needs neither a loop nor typer."""

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

SLOW = {"asyncio", "typer", "click", "rich", "jsonschema", "pluggy", "importlib.metadata", "concurrent.futures"}
# Prints which of these modules a command line has imported when it is over.
SCRIPT = """
import sys
from jobworker_cli.app import run
code = run(sys.argv[2:])
print(code, sorted(set(sys.argv[1].split(",")) & set(sys.modules)), file=sys.stderr)
"""


def imported(*words: str, among: set[str] = SLOW) -> str:
    """Return the exit code and the modules, as text."""
    command = [sys.executable, "-c", SCRIPT, ",".join(sorted(among)), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ, timeout=60)
    return done.stderr.strip()


@pytest.mark.parametrize(
    "words",
    [
        "version",
        "status imports",
        "status --json imports",
        "ps -a",
        "explain imports",
        "wait imports",
        "stats",
        "rpc agent.ping",
        "start imports",
        "stop imports",
        "kill -s HUP imports",
        "update --label a=b imports",
        "create true",
        "run -d true",
        "run --rm true",
        "logs imports",
        "logs -f imports",
        "agent info",
        "token list",
        "frobnicate",
        "plugins no-such-command",
        "ps --no-such-option",
    ],
)
def test_a_command_without_a_loop(jw: "Jw", words: str) -> None:
    """It imports neither asyncio nor typer, also if its line is wrong."""
    if "imports" in words:
        jw("run", "--name", "imports", "true")
    found = imported(*words.split())
    ended = ("start imports", "stop imports", "kill -s HUP imports", "update --label a=b imports")
    wrong = ("frobnicate", "plugins no-such-command", "ps --no-such-option")
    codes = dict.fromkeys(ended, "5") | dict.fromkeys(wrong, "2")
    assert found.splitlines()[-1] in ("0 []", f"{codes.get(words, '0')} []"), found


@pytest.mark.parametrize(
    "words", ["status imports", "ps", "explain imports", "wait imports", "agent info", "run --name x -e A=b true"]
)
def test_a_command_without_types(jw: "Jw", words: str) -> None:
    """What only shows what the local agent sends needs no types of the protocol, no TLS, no library for it."""
    jw("run", "--name", "imports", "true")
    among = {"msgspec", "jobworker.model", "websockets", "ssl", "dataclasses", "inspect", "logging"}
    assert imported(*words.split(), among=among) == "0 []"


def test_the_version_needs_no_client(jw: "Jw") -> None:
    assert imported("--version", among={"ssl", "socket", "websockets", "dataclasses", "json"}) == "0 []"
    assert jw("--version").stdout == jw("version").stdout == jw("-V").stdout


def test_metadata_can_be_imported_afterwards(jw: "Jw") -> None:
    """It is only left out while websockets is imported."""
    script = SCRIPT + "import importlib.metadata\nprint(importlib.metadata.version('websockets'), file=sys.stderr)"
    command = [sys.executable, "-c", script, "", "ps"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ, timeout=60)
    assert done.stderr.splitlines()[-1][0].isdigit()
