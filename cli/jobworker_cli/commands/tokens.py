"""`jw token`: tokens for other people and programs."""

from typing import Annotated, Any

import typer

from jobworker_cli import failures, options, output
from jobworker_cli.endpoint import Choice
from jobworker_cli.output import table
from jobworker_cli.spec import duration

group = typer.Typer(
    help="Create, list and revoke tokens.", rich_markup_mode=None, add_completion=False, no_args_is_help=True
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the token.")]


@group.command()
def create(
    ctx: typer.Context,
    name: NameArgument,
    role: Annotated[list[str], typer.Option("--role", help="What it may do: reader, writer, admin.")],
    expires_in: Annotated[str | None, typer.Option("--expires-in", metavar="D", help='For how long: "30d".')] = None,
    json_: options.Json = False,
) -> int:
    """Print a new token. It is shown this one time."""
    params: dict[str, Any] = {"name": name, "roles": role}
    if expires_in is not None:
        params["expires_in"] = duration(expires_in)
    return failures.attempt(_create(ctx.obj, params, json_))


async def _create(choice: Choice, params: dict[str, Any], as_json: bool) -> int:
    async with choice.client() as client:
        answer = await client.call("token.create", **params)
    if as_json:
        output.emit_json(answer)
    else:
        output.emit(answer["token"])
    return 0


@group.command("list")
def list_(ctx: typer.Context, quiet: options.Quiet = False, json_: options.Json = False) -> int:
    """List the tokens, without what is secret."""
    return failures.attempt(_list(ctx.obj, quiet, json_))


async def _list(choice: Choice, quiet: bool, as_json: bool) -> int:
    async with choice.client() as client:
        answer = await client.call("token.list")
    if as_json:
        output.emit_json(answer)
    elif quiet:
        for one in answer["tokens"]:
            output.emit(one["name"])
    else:
        rows = [
            (
                one["name"],
                ",".join(one["roles"]),
                one["created_at"],
                one["expires_at"] or "never",
                one.get("last_used") or "never",
            )
            for one in answer["tokens"]
        ]
        table.show(("NAME", "ROLES", "CREATED", "EXPIRES", "LAST USED"), rows)
    return 0


@group.command()
def revoke(ctx: typer.Context, name: NameArgument, json_: options.Json = False) -> int:
    """Make a token worthless at once."""
    return failures.attempt(_revoke(ctx.obj, name, json_))


async def _revoke(choice: Choice, name: str, as_json: bool) -> int:
    async with choice.client() as client:
        answer = await client.call("token.revoke", name=name)
    if as_json:
        output.emit_json(answer)
    return 0
