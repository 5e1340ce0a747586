"""`jw token`: tokens for other people and programs."""

from typing import Annotated, Any

from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, Group, Option
from jobworker_cli.output import table
from jobworker_cli.spec import duration

group = Group(help="Create, list and revoke tokens.")
NameArgument = Annotated[str, Argument(metavar="NAME", help="The name of the token.")]
HEAD = ("NAME", "ROLES", "CREATED", "EXPIRES", "LAST USED")


@group.command()
@command
def create(
    ctx: Context,
    name: NameArgument,
    role: Annotated[list[str], Option("--role", help="A role of its bearer: reader, writer, admin.")],
    expires_in: Annotated[
        str | None,
        Option("--expires-in", metavar="D", help='How long it is valid, as "30d"; default: forever.'),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Create a token and print it. It is not shown again."""
    params: dict[str, Any] = {"name": name, "roles": role}
    if expires_in is not None:
        params["expires_in"] = duration(expires_in)
    with ctx.obj.blocking() as client:
        answer = client.call("token.create", **params)
    output.show(answer, [answer["token"]], as_json=json_)


@group.command("list")
@command
def list_(ctx: Context, quiet: options.Quiet = False, json_: options.Json = False) -> None:
    """List the tokens, without their secrets."""
    with ctx.obj.blocking() as client:
        answer = client.call("token.list")
    names = (token["name"] for token in answer["tokens"])
    rows = table.lines(HEAD, map(_row, answer["tokens"]))
    output.show(answer, rows, as_json=json_, quiet=quiet, ids=names)


def _row(token: dict[str, Any]) -> tuple[str, ...]:
    return (
        token["name"],
        ",".join(token["roles"]),
        token["created_at"],
        token["expires_at"] or "never",
        token.get("last_used") or "never",
    )


@group.command()
@command
def revoke(ctx: Context, name: NameArgument, json_: options.Json = False) -> None:
    """Revoke a token, at once."""
    with ctx.obj.blocking() as client:
        answer = client.call("token.revoke", name=name)
    output.show(answer, as_json=json_)
