"""What `jw` prints, as it is kept in tests/data/golden; `make golden` writes these files anew."""

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.declared import declared, page, texts
from tests.support.waiting import DEADLINE

from jobworker_cli.declare import Group

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Jw
    from tests.support.window import Window

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
# What differs from one run to the next, and from one host to another.
VARIES = (
    (r"\b\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"\b00[0-9a-hjkmnp-tv-z]{10}\b", "ID"),
    (r"\b(?=[0-9]*[a-f])[0-9a-f]{12}\b|\b\d{12}\b", "ID"),
    (r"\bpid(:?) +\d+", r"pid\1 N"),
    (r"\b\d+(\.\d+)? ?(ms|s|m|h|d)(\d+(s|m|h))?\b", "SPAN"),
    (r"(?<=unix:local  )\d+", "N"),
    (r"^(local +admin +TIME +never +)(never|TIME)$", r"\1USED"),  # other tests may have used the token
    (r"jobworker \d+\.\d+\.\d+\S*", "jobworker V"),
    (r"\(cgroup\)|\(sweep\)|\(namespace\)", "(METHOD)"),
    (r" +$", ""),
    (r"(?<=\S) {2,}", "  "),
)
HOST = ("used:", "stop:")  # lines that depend on what the host can do
TABLES = (
    "ps -a -l golden=yes",
    "ps -a -l golden=yes -o wide",
    "ps -a -l golden=yes -o name",
    "ps -a -l golden=yes -o name,state,labels",
    "status golden-ended",
    "status golden-running",
    "status golden-created",
    "explain golden-ended",
    "explain golden-running",
    "explain golden-missing",
    "stats golden-nothing",
    "token list",
    "session list",
    "plugins list",
    "context list",
    "context show",
    "frobnicate",
    "run",
    "logs --tail x golden-ended",
    "attach golden-running",
    "stop golden-ended",
)


def held_against(name: str, text: str) -> None:
    """Compare with the file, or with GOLDEN=write write it."""
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text(), f"{path}: if this change is meant, run make golden"


def test_the_help_of_every_command() -> None:
    held_against("help.txt", "\n\n".join("\n".join(page(*each)) for each in declared()) + "\n")


def test_what_is_declared_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever version of typer prints it, each option and each sentence is there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # typer uses what click will not have for ever
        from jobworker_cli import typed
    monkeypatch.setenv("COLUMNS", "100")
    for path, found in declared():
        assert typed.show_help(path, asked=True) == 0
        shown = "".join(capsys.readouterr().out.split())
        missing = [text for text in texts(path, found) if "".join(text.split()) not in shown]
        assert not missing, (path, shown)
        if isinstance(found, Group):
            assert all(name in shown for name in found.commands)


def test_tables_and_messages(jw: "Jw", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    label = ("-l", "golden=yes")
    jw("run", "--name", "golden-ended", *label, "--", "sh", "-c", "echo out; exit 3")
    jw.out("run", "-d", "--name", "golden-running", *label, "--", "sleep", "600")
    jw.out("create", "--name", "golden-created", *label, "-e", "A=b", "--", "true")
    jw("run", "--name", "golden-missing", *label, "--", "/no/such/program")
    pages = []
    for line in TABLES:
        done = jw(*line.split())
        text = f"$ jw {line}\n{done.stdout}{done.stderr}[exit {done.returncode}]\n"
        if line in ("token list", "session list"):  # other tests have theirs
            ours = re.compile(r"\$|[A-Z]|local|.*this command|\[")
            text = "".join(row for row in text.splitlines(keepends=True) if ours.match(row))
        text = "".join(row for row in text.splitlines(keepends=True) if not row.startswith(HOST))
        text = text.replace(os.environ["JOBWORKER_HOME"], "HOME")
        for pattern, instead in VARIES:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
        pages.append(text)
    jw.kill("golden-running")
    held_against("tables.txt", "\n".join(pages))


@pytest.mark.parametrize("columns", [80, 40, 1])
def test_help_and_scripts_on_a_terminal(window: "Callable[..., Window]", columns: int) -> None:
    """Lines are lines there, too, however narrow it is."""
    for words, begin in (("stop --help", "Usage:"), ("agent", "Usage:"), ("completion bash", "# Completion")):
        shown = window(*words.split(), cols=columns)
        shown.wait_for(rf"{begin}[^\n]*\r\n")
        shown.wait_for(r"(?s)(\r\n  .*){5}\r\n")
        shown.process.wait(DEADLINE)
