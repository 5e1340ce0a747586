"""`jw rpc`: call any method."""

import json
from typing import Annotated, Any

import click
import typer

from jobworker_cli import failures, options, output
from jobworker_cli.target import Access


def rpc(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Such as job.list.")],
    params: Annotated[
        list[str] | None, typer.Argument(metavar="[K=V]...", help="Its params: V is JSON, or else text.")
    ] = None,
    json_: options.Json = False,
) -> int:
    """Call a method of the protocol and print its result as JSON."""
    return failures.attempt(_rpc(ctx.obj, method, _parse(params or [])))


def _parse(texts: list[str]) -> dict[str, Any]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.UsageError(f"{text!r}; expected K=V")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


async def _rpc(access: Access, method: str, params: dict[str, Any]) -> int:
    async with access.client() as client:
        output.emit_json(await client.call(method, **params))
    return 0
