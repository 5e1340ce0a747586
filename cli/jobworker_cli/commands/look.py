"""`jw status`, `jw explain`: show jobs."""

from collections.abc import Iterable
from typing import Annotated

from jobworker_cli import columns, describe, options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option
from jobworker_cli.output import table
from jobworker_cli.output.sanitise import printable
from jobworker_cli.resolve import find_job, job_id


@command
def status(
    ctx: Context,
    job: options.JobArgument,
    fields: Annotated[
        list[str] | None, Option("--field", metavar="NAME", help="Only the value of this field, as exit.code.")
    ] = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Show a job: its state, how it ended, the steps of its stop."""
    with ctx.obj.blocking() as client:
        result = find_job(client, job)
    lines: Iterable[str] = table.pair_lines(describe.lines(result))
    if fields:
        values = {name: columns.field(result, name) for name in fields}
        lines = (printable(columns.text(value)) for value in values.values())
        result = result if json_ is False else {"id": result["id"]} | values
    output.show(result, lines, as_json=json_, quiet=quiet, ids=[result["id"]])


@command
def explain(
    ctx: Context, job: options.JobArgument, quiet: options.Quiet = False, json_: options.Json = False
) -> None:
    """Explain why a job is in its state: what happened, in order, and what caused it."""
    with ctx.obj.blocking() as client:
        result = client.call("job.explain", id=job_id(client, job))
    lines = map(printable, describe.story(result))
    output.show(result, lines, as_json=json_, quiet=quiet, ids=[result["id"]])
