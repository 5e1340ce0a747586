"""`jw context`: name agents and choose one."""

import os
import re
import select
import sys
from pathlib import Path
from typing import Annotated, Any

from jobworker.client.endpoint import Endpoint
from jobworker.errors import JobworkerError
from jobworker_cli import LOCAL_CONTEXT, contexts, options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, Group, Option, UsageError
from jobworker_cli.endpoint import home, usable_address, usable_pin, usable_token
from jobworker_cli.output import table

group = Group(help="Name agents, and choose one.")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
HEAD = ("CURRENT", "NAME", "ADDRESS", "AS", "TRUST")
NameArgument = Annotated[str, Argument(metavar="NAME", help="The name of the context.")]


@group.command()
@command
def add(
    name: NameArgument,
    address: Annotated[str, Option(help="The agent, as wss://HOST:PORT/rpc.")],
    token_file: Annotated[
        Path | None, Option(metavar="FILE", help="The file with the token; without it, you are asked.")
    ] = None,
    ca: Annotated[Path | None, Option(metavar="FILE", help="The PEM file of the only CA to trust.")] = None,
    pin: Annotated[
        str | None, Option(metavar="sha256:…", help="The fingerprint of the only certificate to trust.")
    ] = None,
    cert: Annotated[Path | None, Option(metavar="FILE", help="The PEM file of a client certificate.")] = None,
    key: Annotated[Path | None, Option(metavar="FILE", help="The PEM file of its key.")] = None,
    check: Annotated[bool, Option("--check/--no-check", help="Try the agent and the credentials first.")] = True,
    force: Annotated[bool, Option("--force", help="Replace an existing context of this name.")] = False,
    json_: options.Json = False,
) -> None:
    """Give an agent a name, with a token, read from stdin or the terminal, and the certificate to trust.

    The agent is tried first: a certificate that no known CA has signed is shown, and trusted if you confirm it.
    """
    _require_name(name)
    if ca is not None and pin is not None:
        raise UsageError("ca and pin: both are given; expected one of them, or neither for the system's CAs")
    if key is not None and cert is None:
        raise UsageError(f"key: {str(key)!r}; expected --cert with it")
    context = Endpoint(
        usable_address(address),
        ca=_file(ca, "ca"),
        pin=usable_pin(pin),
        cert=_file(cert, "cert"),
        key=_file(key, "key"),
    )
    if name in contexts.read().contexts and not force:
        raise _exists(name)
    token = None if token_file is None else _token(token_file, cert)
    if check:
        from jobworker_cli import first_contact  # slow to import

        context = first_contact.trusted(context)
    if token_file is None:  # last: ask only if everything else is right
        token = _token(None, cert)
    context = context.replaced(token=token)
    if check:
        first_contact.logged_in(context)
    with contexts.changing() as stored:
        if name in stored.contexts and not force:
            raise _exists(name)
        stored.contexts[name] = context
        current = stored.current
    output.show(_shown(name, context, current), as_json=json_)
    if current != name and not json_:
        output.hint(f"jw context use {name}, or jw -c {name} ps")


def _exists(name: str) -> JobworkerError:
    return JobworkerError(f"a context {name!r} exists", hint="--force to replace it")


def _require_name(name: str) -> None:
    """Raise UsageError for a name that no context can have."""
    if not NAME.fullmatch(name) or name == LOCAL_CONTEXT:
        raise UsageError(f"name: {name[:80]!r}; expected letters, digits and . _ - @, and not {LOCAL_CONTEXT!r}")


@group.command()
@command
def use(name: NameArgument, json_: options.Json = False) -> None:
    """Use this agent by default; `local` is the agent of this host."""
    with contexts.changing() as stored:
        if name != LOCAL_CONTEXT:
            stored.get(name)
        stored.current = None if name == LOCAL_CONTEXT else name
    output.show(name, as_json=json_)


@group.command()
@command
def ls(quiet: options.Quiet = False, json_: options.Json = False) -> None:
    """List the contexts, without secrets."""
    stored = contexts.read()
    shown = [_shown(name, context, stored.current) for name, context in stored.contexts.items()]
    rows = [("" if stored.current else "yes", LOCAL_CONTEXT, "the agent of this host", "its token", "its CA")]
    rows += [("yes" if row["current"] else "", row["name"], row["address"], row["as"], row["trust"]) for row in shown]
    output.show({"contexts": shown}, table.lines(HEAD, rows), as_json=json_, quiet=quiet, ids=stored.contexts)


@group.command()
@command
def rm(name: NameArgument, json_: options.Json = False) -> None:
    """Remove a context and its credentials."""
    with contexts.changing() as stored:
        stored.get(name)
        del stored.contexts[name]
        if stored.current == name:
            stored.current = None
            output.note("this context was in use; now the local agent is")
    output.show(True, as_json=json_)


@group.command()
@command
def show(
    ctx: Context,
    name: Annotated[
        str | None, Argument(metavar="[NAME]", help="The name of the context; default: the one in use.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Show a context, without secrets: its address, credentials, trust, and the files that it needs."""
    stored = contexts.read()
    name = name or ctx.obj.context or stored.current or LOCAL_CONTEXT
    if name == LOCAL_CONTEXT:
        shown: dict[str, Any] = {"name": name, "address": "the agent of this host", "state": str(home().path)}
        shown |= {"as": "its token", "trust": "its CA", "current": stored.current is None}
    else:
        shown = _shown(name, stored.get(name), stored.current) | _files(stored.get(name))
    pairs = [(field, value if isinstance(value, str) else "yes" if value else "no") for field, value in shown.items()]
    output.show(shown, table.pair_lines(pairs), as_json=json_)


def _files(context: Endpoint) -> dict[str, Any]:
    """Return the files of a client certificate that a context names."""
    return {name: str(path) for name, path in (("cert", context.cert), ("key", context.key)) if path}


@group.command()
@command
def rename(
    name: NameArgument,
    new: Annotated[str, Argument(metavar="NEW", help="Its new name.")],
    json_: options.Json = False,
) -> None:
    """Give a context another name; if it is in use, it stays so."""
    _require_name(new)
    with contexts.changing() as stored:
        stored.get(name)
        if new in stored.contexts:
            raise JobworkerError(f"a context {new!r} exists", hint=f"jw context rm {new}")
        stored.contexts = {new if old == name else old: context for old, context in stored.contexts.items()}
        if stored.current == name:
            stored.current = new
    output.show(new, as_json=json_)


def _shown(name: str, context: Endpoint, current: str | None) -> dict[str, Any]:
    """Return a context without its secrets."""
    credentials = [text for text, value in (("token", context.token), ("certificate", context.cert)) if value]
    if context.username is not None:
        credentials.append(f"user {context.username}")
    return {
        "name": name,
        "address": context.address,
        "as": " and ".join(credentials) or "nobody",
        "trust": context.pin or (str(context.ca) if context.ca else "the system's CAs"),
        "current": name == current,
    }


def _file(path: Path | None, option: str) -> Path | None:
    """Return it as an absolute path; raise UsageError if there is no such file."""
    if path is not None and not path.is_file():
        raise UsageError(f"{option}: {str(path)!r}; expected a file")
    return None if path is None else path.absolute()


def _token(file: Path | None, cert: Path | None) -> str | None:
    """Return the token from a file, stdin or the terminal; None if it is left empty."""
    if file is not None:
        try:
            return usable_token(file.read_text())
        except OSError as error:
            raise UsageError(f"token-file: {str(file)!r}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"token-file: {str(file)!r}: it is not UTF-8; expected a token") from None
    text = "" if cert is not None else ask("Token (empty for none)")
    return usable_token(text) if text.strip() else None


def ask(what: str) -> str:
    """Return one line of stdin; on a terminal, prompt for it without echo."""
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        import click  # slow to import
        import typer

        try:
            text: str = typer.prompt(what, default="", show_default=False, hide_input=True, err=True)
        except click.Abort:  # Ctrl-C
            raise KeyboardInterrupt from None
        return text
    return _first_line().decode(errors="surrogateescape").rstrip("\r\n")


def _first_line() -> bytes:
    """Return a line of stdin, which may not block, and may not be UTF-8."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            byte = os.read(0, 1)
        except BlockingIOError:
            select.select([0], [], [])
            continue
        if not byte:
            break
        line += byte
    return line
