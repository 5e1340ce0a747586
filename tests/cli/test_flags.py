"""The options of `jw`, as a whole."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


def commands(ctx: click.Context) -> Iterator[click.Context]:
    """Yield a context for the command and for each below it."""
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            inner = ctx.command.get_command(ctx, name)
            assert inner is not None
            yield from commands(click.Context(inner, info_name=name, parent=ctx))


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of typer, which uses older names of click
def test_each_option_has_a_long_form() -> None:
    import typer

    from jobworker_cli.typed import app

    found = list(commands(click.Context(typer.main.get_command(app), info_name="jw")))
    assert len(found) > 40
    short = [
        f"{ctx.command_path} {option.opts[0]}"
        for ctx in found
        for option in ctx.command.params
        if isinstance(option, click.Option) and not any(name.startswith("--") for name in option.opts)
    ]
    assert short == []


def test_long_forms(jw: "Jw") -> None:
    """They do what the short ones do."""
    options = ["--env", "A=1", "--cwd", "/", "--label", "team=ops", "--memory", "64MiB", "--name", "long-forms"]
    made = jw.out("create", *options, "--quiet", "sh", "-c", "echo $A in $PWD")
    spec = json.loads(jw.out("status", made, "--json"))["spec"]
    assert (spec["env"], spec["cwd"], spec["labels"]) == ({"A": "1"}, "/", {"team": "ops"})
    assert spec["limits"]["memory"] == "64MiB"
    jw.out("update", "--memory", "none", made)
    jw.out("start", made)
    assert jw.out("logs", "--follow", "--tail", "1", made) == "1 in /"
    assert jw.out("logs", "--times", made).endswith("Z 1 in /")
    assert made in jw.out("ps", "--all", "--quiet")
    left = jw.out("run", "--detach", "sleep", "60")
    jw.out("kill", "--signal", "TERM", left)
    assert jw("wait", left).returncode == 143
    jw.out("rm", "--force", left, made)
