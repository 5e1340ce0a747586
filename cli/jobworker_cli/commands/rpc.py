"""`jw rpc`: call any method."""

from typing import Annotated, Any

import typer

from jobworker_cli import failures, options, output
from jobworker_cli.endpoint import Choice
from jobworker_cli.spec import values


def rpc(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Such as job.list.")],
    params: Annotated[
        list[str] | None, typer.Argument(metavar="[K=V]...", help="Its params: V is JSON, or else text.")
    ] = None,
    json_: options.Json = False,
) -> int:
    """Call a method of the protocol and print its result as JSON."""
    return failures.attempt(_rpc(ctx.obj, method, values("params", params)))


async def _rpc(choice: Choice, method: str, params: dict[str, Any]) -> int:
    async with choice.client() as client:
        output.emit_json(await client.call(method, **params))
    return 0
