"""`jw screen`: print what the terminal of a job shows."""

from typing import Annotated

from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option
from jobworker_cli.resolve import job_id


@command
def screen(
    ctx: Context,
    job: options.JobArgument,
    every: Annotated[bool, Option("-a", "--all", help="Also the empty lines at the end.")] = False,
    json_: options.Json = False,
) -> None:
    """Print what the terminal of a job shows now, or showed last, as text."""
    with ctx.obj.blocking() as client:
        result = client.call("screen.read", id=job_id(client, job))
    rows = list(result["text"])
    while rows and not rows[-1] and not every:
        rows.pop()
    output.show(result, rows, as_json=json_)
    if not json_ and not result["exact"]:
        output.note("the output was too long to take all of it: some of what is shown may be old or missing")
