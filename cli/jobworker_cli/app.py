"""The composition of `jw`: the module of each command, the global options, the exit.

A command's module is imported when the command is called: what `jw ps` needs does not slow `jw version`.
"""

import importlib
import os
from pathlib import Path
from typing import Annotated

import click
import typer
from typer.core import TyperGroup

from jobworker.client.endpoint import Endpoint
from jobworker_cli import failures, output
from jobworker_cli.endpoint import choose

COMMANDS = {
    "run": "run",
    "create": "jobs",
    "start": "jobs",
    "stop": "jobs",
    "kill": "jobs",
    "pause": "jobs",
    "resume": "jobs",
    "update": "jobs",
    "rm": "jobs",
    "ps": "look",
    "status": "look",
    "explain": "look",
    "wait": "look",
    "stats": "stats",
    "top": "stats",
    "logs": "logs",
    "events": "events",
    "rpc": "rpc",
    "agent": "agent",
    "plugins": "plugins",
    "cert": "cert",
    "token": "tokens",
    "audit": "audit",
    "context": "context",
    "login": "login",
    "version": "version",
}


class Commands(TyperGroup):
    """Finds a command in its module: a group is `group` there, a single command the function of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"jobworker_cli.commands.{COMMANDS[cmd_name]}")
        app = getattr(module, "group", None)
        if app is None:
            app = typer.Typer(rich_markup_mode=None, add_completion=False)
            takes_command = cmd_name in ("run", "create")  # whose own options follow it
            settings = {"allow_interspersed_args": False} if takes_command else {}
            app.command(cmd_name, context_settings=settings)(getattr(module, cmd_name))
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def connect_to(
    ctx: typer.Context,
    address: Annotated[
        str | None, typer.Option(help="The agent, as wss://HOST:PORT/rpc; without it, the local agent.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="A token for it. Every user of this host sees it in `ps`; prefer JW_TOKEN.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="The PEM file of the only CA to trust.")] = None,
    cert: Annotated[
        Path | None, typer.Option(help="The PEM file of a client certificate, for an agent with mTLS.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The PEM file of its key, if it is not in --cert.")] = None,
    pin: Annotated[
        str | None, typer.Option(metavar="sha256:…", help="The fingerprint of the only certificate to trust.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Skip certificate verification: any server gets your token.")
    ] = False,
    context: Annotated[str | None, typer.Option(help="The name of a context: see `jw context ls`.")] = None,
) -> None:
    """Run processes on a host and follow them: every byte, how they ended, and why.

    These options go before the command. The environment may replace them: JW_ADDRESS, JW_TOKEN, JW_CA, JW_CERT,
    JW_KEY, JW_PIN, JW_INSECURE=1, JW_CONTEXT. Without them and without a context in use, `jw` uses the local agent
    and starts it on first use.
    """
    ctx.obj = choose(Endpoint(address, token, ca, cert, key, pin, insecure), context)


def main() -> None:
    """Run `jw` and exit with its code."""
    try:
        code = app(prog_name="jw", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        output.write_stderr(error.format_message())
        code = failures.USAGE
    except click.UsageError as error:
        code = failures.usage(error)
    except output.ReaderGone:
        code = 0
    except KeyboardInterrupt:
        code = failures.LEFT
    except Exception as error:
        code = failures.report(error)
    output.close()
    os._exit(code or 0)  # all is written; the interpreter would complain about what cannot be flushed
