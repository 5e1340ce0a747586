"""The verbs on jobs: `jw create`, `start`, `stop`, `kill`, `pause`, `update` and so on; several jobs at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
import typer

from jobworker.client import Client
from jobworker.errors import JobworkerError
from jobworker.model import Job, StopSpec
from jobworker_cli import describe, failures, options, output, spec
from jobworker_cli.endpoint import Choice
from jobworker_cli.resolve import job_id

Act = Callable[[Client, str], Awaitable[Any]]


def create(
    ctx: typer.Context,
    command: options.Command,
    env: options.Env = None,
    cwd: options.Cwd = None,
    user: options.User = None,
    umask: options.Umask = None,
    nice: options.Nice = None,
    rlimit: options.Rlimit = None,
    name: options.Name = None,
    label: options.Label = None,
    timeout: options.Timeout = None,
    idle_timeout: options.IdleTimeout = None,
    timeout_policy: options.TimeoutPolicy = None,
    stop_strategy: options.StopStrategy = None,
    stop_option: options.StopOption = None,
    stop_signal: options.StopSignal = None,
    grace: options.Grace = None,
    on_full: options.OnFull = None,
    memory: options.Memory = None,
    cpus: options.Cpus = None,
    pids: options.Pids = None,
    io_read: options.IoRead = None,
    io_write: options.IoWrite = None,
    pid_namespace: options.PidNamespace = None,
    stdin: options.Stdin = False,
    tty: options.Tty = False,
    key: options.Key = None,
    shell: options.Shell = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Create a job without starting it, and print its id."""
    return failures.attempt(_create(ctx.obj, ctx.params))


async def _create(choice: Choice, asked: dict[str, Any]) -> int:
    wanted = spec.from_options(asked, local=choice.local)
    params = {"spec": msgspec.to_builtins(wanted)} | ({"key": asked["key"]} if asked["key"] is not None else {})
    async with choice.client() as client:
        job = await client.call("job.create", **params)
    if asked["json_"]:
        output.emit_json(job)
    else:
        output.emit(job["id"])
    return 0


def start(
    ctx: typer.Context, jobs: options.JobArguments, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Start jobs that were created."""
    return _each(ctx, jobs, lambda client, job: client.call("job.start", id=job))


def stop(
    ctx: typer.Context,
    jobs: options.JobArguments,
    strategy: Annotated[str | None, typer.Option("--strategy", help="How to end it.")] = None,
    signal: Annotated[str | None, typer.Option("--signal", metavar="SIG", help="What to send first.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="K=V", help="An option of the strategy: JSON, or text.")
    ] = None,
    grace: options.Grace = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """End jobs with all their processes."""
    return _stop(ctx, jobs, spec.stop_spec(strategy, signal, grace, spec.values("--option", option)))


def kill(
    ctx: typer.Context,
    jobs: options.JobArguments,
    signal: Annotated[str | None, typer.Option("-s", metavar="SIG", help="Send this and no more.")] = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """End jobs at once; with -s, only send a signal to all their processes."""
    if signal is None:
        return _stop(ctx, jobs, StopSpec(strategy="kill"))
    return _each(ctx, jobs, lambda client, job: client.call("job.signal", id=job, signal=signal, target="all"))


def pause(
    ctx: typer.Context, jobs: options.JobArguments, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Hold jobs still, with all their processes."""
    return _each(ctx, jobs, lambda client, job: client.call("job.pause", id=job))


def resume(
    ctx: typer.Context, jobs: options.JobArguments, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Let paused jobs go on."""
    return _each(ctx, jobs, lambda client, job: client.call("job.resume", id=job))


def update(
    ctx: typer.Context,
    jobs: options.JobArguments,
    timeout: options.Timeout = None,
    idle_timeout: options.IdleTimeout = None,
    label: options.Label = None,
    memory: options.Memory = None,
    cpus: Annotated[str | None, typer.Option("--cpus", metavar="N", help="How many CPUs it may use.")] = None,
    pids: Annotated[str | None, typer.Option("--pids", metavar="N", help="How many processes it may have.")] = None,
    io_read: options.IoRead = None,
    io_write: options.IoWrite = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also with less memory than it uses, which kills it.")
    ] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Change the limits of jobs ("none": no limit), at once if they run, or replace their labels.

    Time limits are counted from the start of the job.
    """
    changes = spec.changes(ctx.params)
    return _each(ctx, jobs, lambda client, job: client.call("job.update", id=job, **changes))


def rm(
    ctx: typer.Context,
    jobs: options.JobArguments,
    force: Annotated[bool, typer.Option("-f", help="Kill those that run.")] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Remove jobs that have ended, with their logs."""
    return _each(ctx, jobs, lambda client, job: client.call("job.delete", id=job, force=force))


def _stop(ctx: typer.Context, jobs: list[str], how: StopSpec) -> int:
    params = {"stop": msgspec.to_builtins(how)} if how != StopSpec() else {}
    return _each(ctx, jobs, lambda client, job: client.call("job.stop", id=job, **params))


def _each(ctx: typer.Context, jobs: list[str], act: Act) -> int:
    """Do it to all jobs at once; report each failure, exit with the code of the first."""
    return failures.attempt(_act_on_all(ctx, jobs, act))


async def _act_on_all(ctx: typer.Context, jobs: list[str], act: Act) -> int:
    async with ctx.obj.client() as client:
        codes = await asyncio.gather(*(_act_on(ctx, client, text, act) for text in dict.fromkeys(jobs)))
    return next((code for code in codes if code), 0)


async def _act_on(ctx: typer.Context, client: Client, text: str, act: Act) -> int:
    try:
        job = await job_id(client, text)
        result = await act(client, job)
        _tell_of_faults(job, result)
    except JobworkerError as error:
        return failures.report(error)
    if ctx.params["json_"]:
        output.emit_json(result)
    elif ctx.params["quiet"] or "state" not in result:
        output.emit(job)
    else:
        output.emit(f"{job}  {describe.state(msgspec.convert(result, Job))}")
    return 0


def _tell_of_faults(job: str, result: Any) -> None:
    """Say where a stop strategy failed: the job is stopped all the same."""
    exit_ = result.get("exit") if isinstance(result, dict) else None
    for step in ((exit_ or {}).get("receipt") or {}).get("steps", []):
        if step["action"] == "strategy_failed":
            output.say(f"{job}: {step.get('detail')}; the agent killed what was left, and its log has more")
