"""`jw token`: tokens for other people and programs."""

from typing import Annotated, Any

from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, Group, Option
from jobworker_cli.output import table
from jobworker_cli.spec import duration

group = Group(help="Create, list, renew and revoke tokens.")
NameArgument = Annotated[str, Argument(metavar="NAME", help="The name of the token.")]
ExpiresIn = Annotated[
    str | None,
    Option("--expires-in", metavar="D", help='How long it is valid, as "30d", or "never"; default: 90 days.'),
]
HEAD = ("NAME", "ROLES", "CREATED", "EXPIRES", "LAST USED")


@group.command()
@command
def create(
    ctx: Context,
    name: NameArgument,
    role: Annotated[list[str], Option("--role", help="A role of its bearer: reader, writer, admin.")],
    expires_in: ExpiresIn = None,
    json_: options.Json = False,
) -> None:
    """Create a token and print it. It is not shown again."""
    params = {"name": name, "roles": role} | _lifetime(expires_in)
    with ctx.obj.blocking() as client:
        answer = client.call("token.create", **params)
    _show(answer, json_)


@group.command()
@command
def renew(ctx: Context, name: NameArgument, expires_in: ExpiresIn = None, json_: options.Json = False) -> None:
    """Replace the secret of a token and print it; it keeps its roles and its jobs, and the old secret ends."""
    params = {"name": name} | _lifetime(expires_in)
    with ctx.obj.blocking() as client:
        answer = client.call("token.renew", **params)
    _show(answer, json_)


def _lifetime(expires_in: str | None) -> dict[str, Any]:
    """Return the param for the agent; without one, the configuration of the agent decides."""
    if expires_in is None:
        return {}
    return {"expires_in": None if expires_in == "never" else duration(expires_in)}


def _show(answer: dict[str, Any], as_json: bool) -> None:
    """Print a new token, and on stderr when it ends."""
    output.show(answer, [answer["token"]], as_json=as_json)
    if (end := answer.get("expires_at")) and not as_json:  # an agent of an older version sends none
        output.note(f"it is valid until {end[:10]}: renew it with `jw token renew {answer['name']}`")


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
