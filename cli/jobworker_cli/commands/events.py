"""`jw events`: follow the events of all jobs."""

from typing import Annotated

from jobworker.model import JobEvent, to_builtins
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option
from jobworker_cli.output.sanitise import printable


@command
async def events(
    ctx: Context,
    after: Annotated[
        int | None,
        Option("--from", metavar="REVISION", help="Begin after this revision; 0: with the oldest kept."),
    ] = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Print the events of all jobs, one line each, until Ctrl-C.

    With --json, each line has the revision to continue from with --from.
    """
    async with ctx.obj.client() as client:
        async for event in await client.events(after):
            output.show(to_builtins(event), [line(event)], as_json=json_, quiet=quiet, ids=[event.job.id])


def line(event: JobEvent) -> str:
    """Return an event as one line of text."""
    name = f" ({event.job.name})" if event.job.name else ""
    by = f" by {event.by}" if event.by else ""
    detail = f": {event.detail}" if event.detail else ""
    return printable(f"{event.time} {event.job.id}{name} {event.event.replace('_', ' ')}{by}{detail}")
