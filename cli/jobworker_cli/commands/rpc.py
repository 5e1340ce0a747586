"""`jw rpc`: call any method."""

from typing import Annotated

from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context
from jobworker_cli.spec import values


@command
def rpc(
    ctx: Context,
    method: Annotated[str, Argument(metavar="METHOD", help="A method, such as job.list.")],
    params: Annotated[
        list[str] | None, Argument(metavar="[K=V]...", help="Its params: V is JSON, else text.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Call any method of the protocol and print its result as JSON."""
    arguments = values("params", params)
    with ctx.obj.blocking() as client:
        output.emit_json(client.call(method, **arguments))
