"""`jw` by typer, made of the declarations, for help."""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_origin

import click
import typer
from typer.core import TyperCommand, TyperGroup

from jobworker_cli import commands, failures, output, parse
from jobworker_cli.declare import Argument, Context, Group, Option
from jobworker_cli.root import choose_agent


def show_help(path: Sequence[str], *, asked: bool) -> int:
    """Print the help of the command of these words, of `jw` without any; return the exit code."""
    command = typer.main.get_command(app)
    ctx = click.Context(command, info_name="jw", help_option_names=["-h", "--help"])
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(ctx, name) or command
        ctx = click.Context(command, info_name=name, parent=ctx)
    _restore_help(command, path)
    if not asked:
        output.write_stderr(ctx.get_help())
        return failures.USAGE
    output.emit_text(ctx.get_help())
    return 0


def _restore_help(command: click.Command, path: Sequence[str]) -> None:
    """Give arguments their help again, which click 8.5 clears after typer has set it."""
    found = commands.load(path[0]) if path else choose_agent
    function = (found.commands[path[1]] if path[1:] else found.default) if isinstance(found, Group) else found
    helps = {each.name: each.declared.help for each in parse.parameters(function)} if function else {}
    for param in command.params:
        if isinstance(param, click.Argument):
            vars(param)["help"] = helps.get(param.name or "", "")


class Plain(TyperCommand):
    """Leaves the list of arguments to typer; click 8.5 writes one, too."""

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        pass


class Commands(TyperGroup):
    """Finds a command in its module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(commands.MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in commands.MODULES:
            return None
        command = typer.main.get_command(_app(cmd_name, commands.load(cmd_name)))
        command.name = cmd_name
        return command


def _app(name: str, declared: Group | Callable[..., Any]) -> typer.Typer:
    """Return a command or a group of commands as an app of typer."""
    if not isinstance(declared, Group):
        single = typer.Typer(rich_markup_mode=None, add_completion=False)
        settings = {"allow_interspersed_args": False} if name in commands.TAKE_COMMAND else {}
        single.command(name, cls=Plain, context_settings=settings)(typed(declared))
        return single
    alone = declared.default is not None
    group = typer.Typer(
        help=declared.help,
        rich_markup_mode=None,
        add_completion=False,
        no_args_is_help=not alone,
        invoke_without_command=alone,
    )
    group.callback()(typed(declared.default or _nothing))
    for inner, function in declared.commands.items():
        group.command(inner, cls=Plain)(typed(function))
    return group


def _nothing() -> None:
    pass


def typed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with the declarations of typer in place of ours."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=_annotation(parameter.annotation)) for parameter in signature.parameters.values()
    ]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__name__, call.__doc__ = function.__name__, function.__doc__
    return call


def _annotation(annotation: Any) -> Any:
    if annotation is Context:
        return typer.Context
    if get_origin(annotation) is not Annotated:
        return annotation
    (declared,) = annotation.__metadata__
    if isinstance(declared, Argument):
        return Annotated[annotation.__origin__, typer.Argument(metavar=declared.metavar, help=declared.help)]
    assert isinstance(declared, Option)
    settings: dict[str, Any] = {"count": True} if declared.count else {"min": declared.min}
    option = typer.Option(*declared.names, metavar=declared.metavar, help=declared.help, **settings)
    return Annotated[annotation.__origin__, option]


typer.core.HAS_RICH = False  # its help as plain text still has escapes of rich otherwise
app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(typed(choose_agent))
