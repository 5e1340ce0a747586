"""`jw ps`, `jw status`, `jw explain`, `jw wait`: show jobs."""

from typing import Annotated

import msgspec
import typer

from jobworker.model import Explanation, Job, State
from jobworker_cli import describe, options, output
from jobworker_cli.command import command, job_command
from jobworker_cli.output import table
from jobworker_cli.output.sanitise import printable
from jobworker_cli.resolve import job_id, list_all
from jobworker_cli.retry import retry_call

NOT_FINAL = [state for state in State if not state.final]
HEAD = ("ID", "NAME", "STATE", "AGE", "RAN", "COMMAND")


@command
async def ps(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("-a", "--all", help="Also jobs that have ended.")] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """List the jobs that have not ended, newest first."""
    async with ctx.obj.client() as client:
        jobs = await list_all(client, None if every else NOT_FINAL)
    rows = map(_row, msgspec.convert(jobs, list[Job]))
    ids = [job["id"] for job in jobs]
    output.show({"jobs": jobs, "next": None}, table.lines(HEAD, rows), as_json=json_, quiet=quiet, ids=ids)


def _row(job: Job) -> tuple[str, ...]:
    name, state = job.name or "", describe.state(job)
    return job.id, name, state, describe.age(job), describe.ran(job), describe.command(job)


@command
async def status(
    ctx: typer.Context, job: options.JobArgument, quiet: options.Quiet = False, json_: options.Json = False
) -> None:
    """Show a job: its state, how it ended, the steps of its stop."""
    async with ctx.obj.client() as client:
        result = await client.call("job.status", id=await job_id(client, job))
    lines = table.pair_lines(describe.lines(msgspec.convert(result, Job)))
    output.show(result, lines, as_json=json_, quiet=quiet, ids=[result["id"]])


@command
async def explain(
    ctx: typer.Context, job: options.JobArgument, quiet: options.Quiet = False, json_: options.Json = False
) -> None:
    """Explain why a job is in its state: what happened, in order, and what caused it."""
    async with ctx.obj.client() as client:
        result = await client.call("job.explain", id=await job_id(client, job))
    lines = map(printable, describe.story(msgspec.convert(result, Explanation)))
    output.show(result, lines, as_json=json_, quiet=quiet, ids=[result["id"]])


@job_command
async def wait(
    ctx: typer.Context, job: options.JobArgument, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Wait until a job ends and exit with its code, as `jw run` does."""
    async with ctx.obj.client() as client:
        result = await retry_call(client, "job.wait", id=await job_id(client, job))
    output.show(result, as_json=json_, quiet=quiet, ids=[result["id"]])
    end = msgspec.convert(result, Job).exit
    if words := describe.remark(end):
        output.note(f"job {result['id']}: {words}")
    return describe.exit_code(end)
