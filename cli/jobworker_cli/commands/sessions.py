"""`jw session`: the open connections of an agent, and their end."""

from typing import Annotated, Any

from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, Group, Option, UsageError
from jobworker_cli.output import table

group = Group(help="List and end the connections to an agent.")
HEAD = ("ID", "PRINCIPAL", "ROLES", "ADDRESS", "SINCE")


@group.command("list")
@command
def list_(ctx: Context, quiet: options.Quiet = False, json_: options.Json = False) -> None:
    """List the open connections, the oldest first; the one of this command is marked."""
    with ctx.obj.blocking() as client:
        answer = client.call("session.list")
    rows = table.lines(HEAD, map(_row, answer["sessions"]))
    output.show(answer, rows, as_json=json_, quiet=quiet, ids=(session["id"] for session in answer["sessions"]))


def _row(session: dict[str, Any]) -> tuple[str, ...]:
    own = " (this command)" if session["own"] else ""
    return (
        session["id"],
        (session["principal"] or "not logged in") + own,
        ",".join(session["roles"]),
        session["address"],
        session["since"],
    )


@group.command()
@command
def end(
    ctx: Context,
    ids: Annotated[list[str] | None, Argument(metavar="[ID...]", help="Sessions, as in `jw session list`.")] = None,
    principal: Annotated[
        str | None, Option("--principal", metavar="P", help="End all sessions of a principal, as token:ann.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """End connections at once; their callers can connect again while their credentials are valid."""
    if bool(ids) == bool(principal):
        raise UsageError("ID: expected ids of sessions, or --principal")
    wanted: list[dict[str, Any]] = [{"id": id_} for id_ in ids or []] or [{"principal": principal}]
    with ctx.obj.blocking() as client:
        ended = sum(client.call("session.end", **one)["ended"] for one in wanted)
    output.show({"ended": ended}, [f"{ended} ended"], as_json=json_)
