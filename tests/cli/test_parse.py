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
HELP = [
    "",
    "--help",
    "-h",
    "ps --help",
    "ps -ah",
    "agent",
    "agent --help",
    "agent stop -h",
    "help",
    "help agent stop",
]
# Each with what is wrong, and the word.
WRONG = {
    "nonsense": ("command", "nonsense"),
    "agent nonsense": ("command", "nonsense"),
    "plugins nonsense": ("command", "nonsense"),
    "help nonsense": ("command", "nonsense"),
    "ps extra": ("extra", "extra"),
    "status a b": ("extra", "b"),
    "ps --nonsense": ("option", "--nonsense"),
    "ps -aX": ("option", "-X"),
    "ps --al": ("option", "--al"),
    "run --nonsense true": ("option", "--nonsense"),
    "ps --json=1": ("flag", "--json=1"),
    "stats -o yaml": ("output", "yaml"),
    "attach -o json a": ("option", "--json"),
    "status": ("missing", ""),
    "run": ("missing", ""),
    "run --": ("missing", ""),
    "token create alice": ("missing", ""),
    "run --name": ("no value", "--name"),
    "run --name --json true": ("no value", "--name"),
    "logs --tail=0 --offset -- a": ("no value", "--offset"),
    "--address": ("no value", "--address"),
    "run --cpus many true": ("value", "--cpus=many"),
    "run --nice 1.5 true": ("value", "--nice=1.5"),
    "logs -n -1 job": ("value", "-n=-1"),
    "logs --tail x job": ("value", "--tail=x"),
}
# Beyond typer: the same as.
SAME = {
    "--json ps": "ps --json",
    "-o json ps": "ps --json",
    "ps -o json": "ps --json",
    "ps -aojson": "ps -a --json",
    "ps --output=json": "ps --json",
    "ps --all=true": "ps --all",
    "ps -a=false": "ps",
    "ls -aq": "ps -aq",
    "list": "ps",
    "inspect a": "status a",
    "log -f a": "logs -f a",
    "unpause a": "resume a",
    "delete -f a": "rm -f a",
    "why a": "explain a",
    "-- ps": "ps",
    "ps --": "ps",
    "agent -- info": "agent info",
    "plugins -- -q": "plugins -q",
    "plugins ls -q": "plugins -q",
    "context list": "context ls",
    "token rm alice": "token revoke alice",
    "kill -HUP a": "kill --signal HUP a",
    "kill -9 a b": "kill --signal 9 a b",
    "kill a -SIGRTMIN+3": "kill --signal SIGRTMIN+3 a",
    "stop -t 5 a": "stop --grace 5 a",
    "stop --time=5 a": "stop --grace 5 a",
    "run --workdir / --stdin --ulimit nofile=9 true": "run --cwd / -i --rlimit nofile=9 true",
    "run --nice -5 true": "run --nice=-5 true",
    "logs --timestamps --lines 3 a": "logs -t -n 3 a",
}
# Options of jw itself, after the command: the same as before it.
ANYWHERE = {
    "ps --address wss://h:1/rpc -a --insecure": "--address wss://h:1/rpc --insecure ps -a",
    "agent info --token t --address wss://h:1/rpc": "--token t --address wss://h:1/rpc agent info",
    "run --context local --key k true": "--context local run --key k true",
}


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
    call: Any = app.find(line)
    _, _, values, path = call.args
    return values, path


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


@pytest.mark.parametrize("line", HELP)
def test_help_is_asked_for(line: str) -> None:
    call: Any = app.find(shlex.split(line))
    assert call.func is app._help
    assert call.keywords["asked"] == (line not in ("", "agent"))


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong(line: str) -> None:
    with pytest.raises(parse.NotUnderstood) as caught:
        app.find(shlex.split(line))
    assert (caught.value.what, caught.value.word) == WRONG[line]


@pytest.mark.parametrize("line", SAME)
def test_the_same_in_other_words(line: str) -> None:
    assert by_us(shlex.split(line)) == by_us(shlex.split(SAME[line]))


@pytest.mark.parametrize("line", ANYWHERE)
def test_options_of_jw_after_the_command(line: str) -> None:
    ours, other = (app.find(shlex.split(text)) for text in (line, ANYWHERE[line]))
    assert ours.args[0].keywords == other.args[0].keywords  # type: ignore[attr-defined]
    assert ours.args[2:] == other.args[2:]  # type: ignore[attr-defined]


def test_every_command_can_be_read() -> None:
    """The parameters of each are of kinds that are known here."""
    for name in commands.MODULES:
        found = commands.load(name)
        for function in found.commands.values() if isinstance(found, Group) else [found]:
            for parameter in parse.parameters(function):
                assert parameter.kind in (bool, str, int, float, Path), (name, parameter.name)
                assert isinstance(parameter.declared, Argument | Option)
