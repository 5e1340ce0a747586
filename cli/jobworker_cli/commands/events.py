"""`jw events`: what happens to jobs, as it happens."""

from typing import Annotated

import typer

from jobworker.model import JobEvent, to_builtins
from jobworker_cli import failures, options, output
from jobworker_cli.endpoint import Choice
from jobworker_cli.output.sanitise import printable


def events(
    ctx: typer.Context,
    after: Annotated[
        int | None, typer.Option("--from", metavar="REVISION", help="Begin after this revision; 0: with all kept.")
    ] = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Print what happens to jobs, one line for each event, until Ctrl-C.

    With --json, each line holds the revision from which to go on another time.
    """
    return failures.attempt(_events(ctx.obj, after, quiet, json_))


async def _events(choice: Choice, after: int | None, quiet: bool, as_json: bool) -> int:
    async with choice.client() as client:
        async for event in await client.events(after):
            if as_json:
                output.emit_json(to_builtins(event))
            else:
                output.emit(event.job.id if quiet else line(event))
    return 0


def line(event: JobEvent) -> str:
    """Return an event as a person reads it."""
    name = f" ({event.job.name})" if event.job.name else ""
    by = f" by {event.by}" if event.by else ""
    detail = f": {event.detail}" if event.detail else ""
    return printable(f"{event.time} {event.job.id}{name} {event.event.replace('_', ' ')}{by}{detail}")
