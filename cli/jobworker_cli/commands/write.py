"""`jw write`: write to the input of a job."""

import os
from typing import TYPE_CHECKING, Annotated

from jobworker_cli import options
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, Option, UsageError
from jobworker_cli.resolve import job_id

if TYPE_CHECKING:
    from jobworker.client.blocking import Client

READ_BYTES = 1 << 20  # of stdin, sent at once


@command
def write(
    ctx: Context,
    job: options.JobArgument,
    text: Annotated[
        list[str] | None, Argument(metavar="[TEXT...]", help="What to write, as one line; without it, stdin.")
    ] = None,
    no_newline: Annotated[bool, Option("-n", "--no-newline", help="Write TEXT without an end of line.")] = False,
    eof: Annotated[bool, Option("--eof", help="End the input afterwards; alone, only end it.")] = False,
) -> None:
    """Write to the input of a job that was started with -i. Waits while the job does not read."""
    if no_newline and not text:
        raise UsageError("--no-newline is for TEXT; stdin is written as it is")
    with ctx.obj.blocking() as client:
        target = job_id(client, job)
        if text:
            line = " ".join(text) + ("" if no_newline else "\n")
            client.write(target, os.fsencode(line))
        elif not eof:
            _copy_stdin(client, target)
        if eof:
            client.close_input(target)


def _copy_stdin(client: "Client", job: str) -> None:
    target = client.input(job)
    while data := os.read(0, READ_BYTES):
        target.write(data)
