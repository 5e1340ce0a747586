"""`jw rpc`: call any method."""

import json
from typing import Annotated, Any

from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, UsageError
from jobworker_cli.spec import refuse_constant, values


@command
def rpc(
    ctx: Context,
    method: Annotated[str, Argument(metavar="METHOD", help="A method, such as job.list.")],
    params: Annotated[
        list[str] | None,
        Argument(
            metavar="[K=V]...", help="Its params: V is JSON, else text. Or all as one object, as '{\"id\": …}'."
        ),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Call any method of the protocol and print its result as JSON."""
    arguments = _params(params or [])
    with ctx.obj.blocking() as client:
        output.emit_json(client.call(method, **arguments))


def _params(texts: list[str]) -> dict[str, Any]:
    """Return the params, of which objects have several; raise UsageError."""
    params: dict[str, Any] = {}
    for text in texts:
        if not text.lstrip().startswith(("{", "[")):
            params |= values("params", [text])
            continue
        try:
            found = json.loads(text, parse_constant=refuse_constant)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"params: not JSON: {error}") from None
        if not isinstance(found, dict):
            raise UsageError("params: an array; expected an object, as '{\"limit\": 5}', or limit=5")
        params |= found
    return params
