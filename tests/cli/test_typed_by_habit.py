"""What users of docker, kubectl, systemctl, pueue and others type meets what they mean, or the next command."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from jobworker_cli import app, habits, parse
from jobworker_cli.habits import flags, verbs

LINES = [
    line.split(" => ", 1)
    for line in Path(__file__).with_name("habits.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
SHELL = re.compile(r" [|<>&].*")  # of a hint


def meaning(line: str) -> Any:
    """Return what `jw` would do."""
    call: Any = app.find(shlex.split(line))
    if call.func is not app._call:
        return call.func.__name__
    choose, function, values, path = call.args
    return choose.keywords, function, values, path


def refused(line: str) -> tuple[str, str]:
    """Return the sentence and the next command."""
    words = shlex.split(line)
    with pytest.raises(parse.NotUnderstood) as caught:
        app.find(words)
    return habits.explain(caught.value, words)


def test_lines_typed_by_habit() -> None:
    """Each is understood, or is answered with what jobworker does instead and a command that `jw` understands."""
    assert len(LINES) >= 226
    wrong = {}
    for line, expected in LINES:
        kind, _, words = expected.partition(" ")
        try:
            if kind == "?":
                message, hint = refused(line)
                assert words in message or words in hint, (message, hint)
                check(hint)
            elif kind == "=":
                assert meaning(line) == meaning(words)
            else:
                assert (meaning(line) == "_help") == (kind == "help")
        except (AssertionError, parse.NotUnderstood, pytest.fail.Exception) as error:
            wrong[line] = error
    assert not wrong, "\n".join(f"{line}: {error!r}" for line, error in wrong.items())


def check(hint: str) -> None:
    """Fail unless `jw` understands its commands."""
    for command in re.findall(r"(?<![\w.])jw .*", SHELL.sub("", hint.replace("$(jw ps -q)", "JOB"))):
        meaning(command.removeprefix("jw "))


@pytest.mark.parametrize("table", ["verbs", "inner", "flags"])
def test_each_hint_is_a_command(table: str) -> None:
    """The next command of each line of the tables, with no further word on the line and with two."""
    lines: list[str] = []
    if table == "verbs":
        lines = [verb for names, _, _ in verbs.VERBS for verb in names.split()]
    if table == "inner":
        lines = [f"{group} {verb}" for group, rows in verbs.INNER.items() for row in rows for verb in row[0].split()]
    if table == "flags":
        for names, options, _, _ in flags.FLAGS:
            named = ["ps"] if names == "*" else names.split()
            lines += [f"{name} {option}" for option in options.split() for name in named]
    wrong = {}
    for line in lines + [f"{line} a b" for line in lines if line[:3] != "ps "]:
        try:
            app.find(shlex.split(line))
            continue  # jw has it by now
        except parse.NotUnderstood as error:
            if error.what not in ("command", "option"):
                continue
        try:
            message, hint = refused(line)
            assert ": " in message, "it is in the table"
            check(hint)
        except (AssertionError, parse.NotUnderstood, pytest.fail.Exception) as error:
            wrong[line] = error
    assert not wrong, "\n".join(f"{line}: {error!r}" for line, error in wrong.items())


@pytest.mark.parametrize(
    ("line", "near"),
    [("pss", "ps"), ("expalin x", "explain"), ("run --detatch true", "--detach"), ("ps --al", "--all")],
)
def test_a_close_spelling(line: str, near: str) -> None:
    message, hint = refused(line)
    assert message.endswith(f"did you mean {near}?")
    check(hint)


@pytest.mark.parametrize("line", ["frobnicate", "x", "run --nonsense true", "ps --quorum", "agent nope"])
def test_no_spelling_that_is_far(line: str) -> None:
    message, hint = refused(line)
    assert "did you mean" not in message
    assert hint.endswith("--help")
