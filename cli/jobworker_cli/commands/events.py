"""`jw events`: follow the events of all jobs."""

from datetime import datetime
from typing import Annotated

from jobworker.model import JobEvent, to_builtins
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.moments import instant
from jobworker_cli.output.sanitise import printable


@command
def events(
    ctx: Context,
    after: Annotated[
        int | None,
        Option("--from", metavar="REVISION", help="Begin after this revision; 0: with the oldest kept."),
    ] = None,
    since: Annotated[
        str | None,
        Option("--since", metavar="T", help="Begin at a time, as 2026-11-28 or 14:30, or a duration ago: 10m."),
    ] = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Print the events of all jobs, one line each, until Ctrl-C.

    With --json, each line has the revision to continue from with --from.
    """
    if after is not None and since is not None:
        raise UsageError("--from, --since: each is where to begin; expected one of them")
    begin = None if since is None else instant("--since", since)
    with ctx.obj.blocking() as client:
        for event in client.events(0 if begin else after):
            if begin and datetime.fromisoformat(event.time) < begin:
                continue
            begin = None  # events are in order, also if a clock was set back
            output.show(to_builtins(event), [line(event)], as_json=json_, quiet=quiet, ids=[event.job.id])


def line(event: JobEvent) -> str:
    """Return an event as one line of text."""
    name = f" ({event.job.name})" if event.job.name else ""
    by = f" by {event.by}" if event.by else ""
    detail = f": {event.detail}" if event.detail else ""
    return printable(f"{event.time} {event.job.id}{name} {event.event.replace('_', ' ')}{by}{detail}")
