"""`jw login`: try credentials and keep them with a context."""

from typing import Annotated, Any

import msgspec

from jobworker_cli import LOCAL_CONTEXT, contexts, options, output
from jobworker_cli.command import command
from jobworker_cli.commands.context import ask
from jobworker_cli.declare import Argument, Context, Option, UsageError
from jobworker_cli.endpoint import Choice, usable_token


@command
def login(
    ctx: Context,
    name: Annotated[str | None, Argument(metavar="[NAME]", help="The context; default: the one in use.")] = None,
    user: Annotated[
        str | None, Option("--user", metavar="NAME", help="Log in with a password instead of a token.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Ask for a token or a password, try it, and keep it with the context."""
    choice: Choice = ctx.obj
    name = name or choice.context or contexts.read().current
    if name is None or name == LOCAL_CONTEXT:
        raise UsageError("name: no context is chosen; expected one of `jw context ls`, or `jw context add`")
    if user is not None and (not user or ":" in user):
        raise UsageError(f"user: {user!r}; expected a name without a colon")
    context = contexts.read().get(name)
    if user is None:
        changes: dict[str, Any] = {"token": usable_token(ask("Token")), "username": None, "password": None}
    else:
        changes = {"token": None, "username": user, "password": ask(f"Password of {user}")}
    context = context.replaced(**changes)
    with Choice(context.replaced(insecure=choice.given.insecure)).blocking() as client:
        principal = client.whoami()
    with contexts.changing() as stored:
        if stored.get(name).address != context.address:
            raise UsageError(f"name: the context {name!r} has another address now; expected the one that was tried")
        stored.contexts[name] = stored.contexts[name].replaced(**changes)
    output.show(msgspec.to_builtins(principal), as_json=json_)
    if not json_:
        output.note(f"{context.address} knows you as {principal.name} ({', '.join(principal.roles)})")
