"""The lines of the agent's log: one for each message, whatever is in it."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from jobworker import agent_log, config, request_ref
from jobworker.errors import StartError

HOSTILE = [
    "two\nlines",
    'a "quoted" \\ text\r\n2026-01-01 ERROR forged',
    "\x1b[2J\x00\x7f\x9b",
    "\u2028\u2029\x85",
    "not Unicode: \udcff\ud800",
    "\U0001f600 é",
    "",
    "x" * 100_000,
]


def record(message: str, *args: Any, fault: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    info = (type(fault), fault, None) if fault else None
    made = logging.LogRecord("jobworker.tls", logging.WARNING, "", 0, message, args, info)
    vars(made).update(extra)
    return made


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text(text: str) -> None:
    """In message, argument, field and exception: JSON is one object a line, and text begins no line by itself."""
    given = record(
        "say %s", text, fault=ValueError(text), name_of=text, number=5, odd=b"\xff", nested={"x": {1, text}}
    )
    line = agent_log.JsonLines().format(given)
    assert len(line.splitlines()) == 1
    assert line.isascii() or line.encode()
    read = json.loads(line)
    assert (read["level"], read["logger"]) == ("warning", "jobworker.tls")
    assert read["message"].startswith("say ")
    assert "ValueError" in read["traceback"]
    assert "fields" in read
    if text.isprintable():
        assert read["message"] == f"say {text}"
        assert read["fields"]["number"] == 5

    lines = agent_log.Lines().format(given).split("\n")
    assert " WARNING jobworker.tls: say " in lines[0]
    assert lines[1].startswith("  ValueError")
    assert not any(sign in line for line in lines for sign in "\x1b\x00\r\x7f\x9b\u2028\x85")


def test_an_exception_of_several_lines_begins_no_line_of_text() -> None:
    """A traceback is indented: no exception's text looks like a line of the log."""
    lines = agent_log.Lines().format(record("x", fault=ValueError("a\n2026-01-01 ERROR forged"))).split("\n")
    assert not any(line.startswith("2026-01-01") for line in lines[1:])


def test_the_ref_of_a_request() -> None:
    request_ref.begin(("ab12", 7, None))
    try:
        assert json.loads(agent_log.JsonLines().format(record("x")))["ref"] == "ab12-7"
        assert " WARNING jobworker.tls [ab12-7]: x" in agent_log.Lines().format(record("x"))
    finally:
        request_ref.end()
    assert "ref" not in json.loads(agent_log.JsonLines().format(record("x")))


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ('"loud"', ["agent.log_level", "loud"]),
        ('{ tls = "loud" }', ["agent.log_level", "loud"]),
        ('{ tsl = "debug" }', ["agent.log_level.tsl", "unknown", "tls", "plugin.NAME"]),
        ('{ "plugin.nothing" = "debug" }', ["agent.log_level.plugin.nothing", "unknown"]),
        ("5", ["agent.log_level", "5"]),
    ],
)
def test_wrong_levels(tmp_path: Path, level: str, words: list[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[agent]\nlog_level = {level}\n")
    with pytest.raises(StartError) as refused:
        config.load(path)
    assert all(word in refused.value.message for word in words), refused.value.message


def test_each_logger_of_the_agent_has_its_subsystem() -> None:
    """A package that logs and is not listed could have no level of its own."""
    root = Path(agent_log.__file__).parent
    packages = {
        path.relative_to(root).parts[0] for path in root.rglob("*/*.py") if "logging.getLogger(" in path.read_text()
    }
    assert packages == set(agent_log.PACKAGES)
