"""`jw ps`, `jw status`, `jw explain`, `jw wait`: look at jobs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from jobworker.client import Client
from jobworker.errors import ConnectionFailed
from jobworker.model import Explanation, Job, State
from jobworker_cli import describe, failures, options, output
from jobworker_cli.endpoint import Choice
from jobworker_cli.output import table
from jobworker_cli.output.sanitise import printable
from jobworker_cli.resolve import job_id, list_all

NOT_OVER = [state for state in State if not state.final]
T = TypeVar("T")
PAUSE = 0.05  # seconds before a call is made again


def ps(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("-a", help="Also those that have ended.")] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """List jobs, newest first: those that have not ended."""
    return failures.attempt(_ps(ctx.obj, every, quiet, json_))


async def _ps(choice: Choice, every: bool, quiet: bool, as_json: bool) -> int:
    async with choice.client() as client:
        found = await list_all(client, None if every else NOT_OVER)
    if as_json:
        output.emit_json({"jobs": found, "next": None})
    elif quiet:
        for one in found:
            output.emit(one["id"])
    else:
        jobs = msgspec.convert(found, list[Job])
        rows = [
            (job.id, job.name or "", describe.state(job), describe.age(job), describe.ran(job), describe.command(job))
            for job in jobs
        ]
        table.show(("ID", "NAME", "STATE", "AGE", "RAN", "COMMAND"), rows)
    return 0


def status(
    ctx: typer.Context, job: options.JobArgument, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Show all about a job: its state, how it ended, what a stop did."""
    return failures.attempt(_status(ctx.obj, job, quiet, json_))


async def _status(choice: Choice, job: str, quiet: bool, as_json: bool) -> int:
    async with choice.client() as client:
        found = await client.call("job.status", id=await job_id(client, job))
    if as_json:
        output.emit_json(found)
    elif quiet:
        output.emit(found["id"])
    else:
        table.show_pairs(describe.lines(msgspec.convert(found, Job)))
    return 0


def explain(
    ctx: typer.Context, job: options.JobArgument, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Say why a job is in its state: what happened to it, in order, and who did it."""
    return failures.attempt(_explain(ctx.obj, job, quiet, json_))


async def _explain(choice: Choice, job: str, quiet: bool, as_json: bool) -> int:
    async with choice.client() as client:
        found = await client.call("job.explain", id=await job_id(client, job))
    if as_json:
        output.emit_json(found)
    elif quiet:
        output.emit(found["id"])
    else:
        for line in describe.story(msgspec.convert(found, Explanation)):
            output.emit(printable(line))
    return 0


def wait(
    ctx: typer.Context, job: options.JobArgument, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Wait until a job ends; exit with its code, as `jw run` does."""
    return failures.attempt(_wait(ctx.obj, job, quiet, json_), failed=failures.RUN_FAILED)


async def _wait(choice: Choice, job: str, quiet: bool, as_json: bool) -> int:
    async with choice.client() as client:
        found = await insist(client, "job.wait", id=await job_id(client, job))
    if as_json:
        output.emit_json(found)
    elif quiet:
        output.emit(found["id"])
    end = msgspec.convert(found, Job).exit
    if words := describe.remark(end):
        output.say(f"job {found['id']}: {words}")
    return describe.exit_code(end)


async def insist(client: Client, method: str, **params: Any) -> Any:
    """Call a method that may be called twice, over as many connections as it takes."""
    return await again(client, lambda: client.call(method, **params))


async def again(client: Client, work: Callable[[], Awaitable[T]]) -> T:
    """Do what may be done twice, over as many connections as it takes."""
    while True:
        try:
            return await work()
        except ConnectionFailed:
            await asyncio.sleep(PAUSE)
            await client.reconnect()
