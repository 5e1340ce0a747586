"""`jw rpc`: call any method."""

from typing import Annotated

import typer

from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.spec import values


@command
async def rpc(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A method, such as job.list.")],
    params: Annotated[
        list[str] | None, typer.Argument(metavar="[K=V]...", help="Its params: V is JSON, else text.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Call any method of the protocol and print its result as JSON."""
    arguments = values("params", params)
    async with ctx.obj.client() as client:
        output.emit_json(await client.call(method, **arguments))
