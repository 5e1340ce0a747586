"""A command line that is read without typer means what typer makes of it."""

import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from jobworker_cli import app, commands, parse
from jobworker_cli.declare import Argument, Group, Option

LINES = [
    "ps",
    "ps -a",
    "ps -aq",
    "ps --all --json",
    "status job",
    "status --quiet job",
    "status job --json",
    "status -- -job",
    "status -",
    "stop a b c",
    "stop a --strategy ladder b --grace 5s --option a=1 --option=b=2",
    "kill -s HUP job",
    "kill -sHUP job",
    "kill --signal=HUP job",
    "logs -fn5 job",
    "logs -f -n 5 a b",
    "logs --offset 12 --times job",
    "run echo -n --json",
    "run -d -e A=1 -e B=2 --name x -- echo -d --",
    "run --cpus 1.5 --pids 5 --nice 3 -m 1G true",
    "run --no-pid-namespace --pid-namespace true",
    "create --pid-namespace sh -c 'exit 3'",
    "rpc job.list limit=1 a=b",
    "rpc job.list",
    "agent info --json",
    "agent stop --jobs",
    "agent install --systemd --no-start",
    "agent install --systemd --now --root /tmp/x",
    "cert init --out /tmp/x --name a --name b",
    "token create alice --role reader --role writer",
    "context ls -q",
    "audit -n 5 --denied",
    "audit --lines 0",
    "plugins new my-plugin --out dir",
    "version --json",
    "events --from 0",
    "wait job",
    "stats",
    "stats a b --watch",
    "login",
    "login name --user me",
    "update a --timeout 10m --cpus none",
]
LEFT_TO_TYPER = [
    "",
    "--help",
    "-h",
    "nonsense",
    "ps --help",
    "ps extra",
    "ps --nonsense",
    "ps -aX",
    "ps --json=1",
    "ps --al",
    "status",
    "status a b",
    "stop",
    "run",
    "run --nonsense true",
    "run --name",
    "run --name --json true",
    "logs --tail=0 --offset -- a",
    "run --cpus many true",
    "run --nice 1.5 true",
    "logs -n -1 job",
    "logs --tail x job",
    "agent",
    "agent nonsense",
    "agent --help",
    "plugins",
    "plugins -q",
    "token create alice",
    "--address",
]


@pytest.fixture
def typer_app() -> click.Group:
    import typer

    from jobworker_cli import typed

    made = typer.main.get_command(typed.app)
    assert isinstance(made, click.Group)
    return made


def by_typer(command: click.Command, line: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters that typer gives to the command, and the words that name it."""
    path: list[str] = []
    parent = command.make_context("jw", list(line))
    while isinstance(parent.command, click.Group):
        name, inner, rest = parent.command.resolve_command(parent, [*parent._protected_args, *parent.args])
        assert name
        assert inner
        path.append(name)
        parent = inner.make_context(name, list(rest), parent=parent)
    params = {}
    for name, value in parent.params.items():
        params[name] = list(value) if isinstance(value, tuple) else value
    return params, path


def by_us(line: list[str]) -> tuple[dict[str, Any], list[str]]:
    call = app.find(line)
    assert call is not None, "it is left to typer"
    _, _, values, path = call.args  # type: ignore[attr-defined]
    return values, path.split()[1:]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of click, when typer is imported
@pytest.mark.parametrize("line", LINES)
def test_the_same_as_typer(line: str, typer_app: click.Group) -> None:
    ours, path = by_us(shlex.split(line))
    theirs, their_path = by_typer(typer_app, shlex.split(line))
    assert path == their_path
    assert {name: _plain(value) for name, value in ours.items()} == {
        name: _plain(value) for name, value in theirs.items()
    }


def _plain(value: Any) -> Any:
    """A list that was not given is None or empty; paths compare as text."""
    return str(value) if hasattr(value, "parts") else value or None if isinstance(value, list) else value


@pytest.mark.parametrize("line", LEFT_TO_TYPER)
def test_left_to_typer(line: str) -> None:
    """What asks for help, or is wrong."""
    assert app.find(shlex.split(line)) is None


def test_every_command_can_be_read() -> None:
    """The parameters of each are of kinds that are known here."""
    for name in commands.MODULES:
        found = commands.load(name)
        for function in found.commands.values() if isinstance(found, Group) else [found]:
            for parameter in parse.parameters(function):
                assert parameter.kind in (bool, str, int, float, Path), (name, parameter.name)
                assert isinstance(parameter.declared, Argument | Option)
