"""`jw cert`: certificates, in files of this host."""

import os
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from jobworker.errors import JobworkerError
from jobworker_cli import failures, options, output
from jobworker_cli.target import home

group = typer.Typer(help="Make certificates.", rich_markup_mode=None, add_completion=False, no_args_is_help=True)
HERE = ("localhost", "127.0.0.1", "::1")
FILES = ("ca.pem", "ca.key", "server.pem", "server.key")


@group.callback()
def group_() -> None:
    """Make certificates."""


@group.command()
def init(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; without it, the local agent's.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="HOST", help="A name or address of the server.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a CA: who trusts the old one is locked out.")
    ] = False,
    json_: options.Json = False,
) -> int:
    """Make a CA and a server certificate, and print where they are."""
    return failures.attempt(_init(out, name or [socket.gethostname()], force, json_))


async def _init(out: Path | None, names: list[str], force: bool, as_json: bool) -> int:
    folder = (out or home().path / "tls").absolute()
    if (folder / "ca.pem").exists() and not force:
        raise JobworkerError(
            f"{folder / 'ca.pem'} exists: whoever trusts it would be locked out",
            hint="--out DIR for another one, --force to replace it",
        )
    from jobworker.certificates import make_all

    if out is None:
        home().create()
    make_all(folder, dict.fromkeys([*names, *HERE]))
    if out is None:
        _tell_agent()
    if as_json:
        output.emit_json({file.replace(".", "_"): str(folder / file) for file in FILES})
    else:
        for file in FILES:
            output.emit(str(folder / file))
    return 0


def _tell_agent() -> None:
    """Let a running agent take the new certificate: clients trust the new CA from now on."""
    from jobworker.client.local import agent_pid

    pid = agent_pid(home())
    if pid is not None:
        os.kill(pid, signal.SIGHUP)
        output.say(f"the agent (pid {pid}) was told to read it")
