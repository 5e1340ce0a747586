"""`jw logs`: the log of a job, once or as it grows."""

import os
from typing import Annotated

import typer

from jobworker.protocol import STREAMS
from jobworker_cli import failures, options, output
from jobworker_cli.records import Records
from jobworker_cli.resolve import job_id
from jobworker_cli.target import Access


def logs(
    ctx: typer.Context,
    job: options.JobArgument,
    follow: Annotated[bool, typer.Option("-f", help="Go on until the job ends.")] = False,
    offset: Annotated[int, typer.Option("--offset", metavar="N", help="Begin at this byte of the log.")] = 0,
    times: Annotated[bool, typer.Option("-t", help="Begin each line with its time.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Only what the job wrote to stdout.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Only what the job wrote to stderr.")] = False,
    raw: options.Raw = False,
    json_: options.Json = False,
) -> int:
    """Print what a job has written, stdout to stdout and stderr to stderr.

    With --json, one line for each piece, and a last one for the end.
    """
    chosen = [name for name, wanted in (("stdout", stdout), ("stderr", stderr)) if wanted]
    records = Records(as_json=json_, raw=raw, times=times, streams=tuple(chosen) or STREAMS)
    return failures.attempt(_logs(ctx.obj, job, offset, follow, records))


async def _logs(access: Access, job: str, offset: int, follow: bool, records: Records) -> int:
    async with access.client() as client:
        subscription = await client.subscribe(await job_id(client, job), offset, follow=follow)
        try:
            await records.follow(subscription)
        except output.ReaderGone:
            os._exit(0)  # a polite end of the connection would wait for all that is still on its way
    return 0
