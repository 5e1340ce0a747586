"""`jw create`, `start`, `stop`, `kill`, `pause`, `resume`, `update`, `rm`: change jobs, several at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
import typer

from jobworker.client import Client
from jobworker.errors import JobworkerError
from jobworker.model import Job, StopSpec
from jobworker_cli import describe, failures, options, output, spec
from jobworker_cli.command import command
from jobworker_cli.resolve import job_id

Act = Callable[[Client, str], Awaitable[Any]]


@command
async def create(
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
) -> None:
    """Create a job without starting it, and print its id."""
    wanted = spec.from_options(ctx.params, local=ctx.obj.local)
    params = {"spec": msgspec.to_builtins(wanted)} | ({} if key is None else {"key": key})
    async with ctx.obj.client() as client:
        job = await client.call("job.create", **params)
    output.show(job, [job["id"]], as_json=json_, quiet=quiet, ids=[job["id"]])


@command
async def start(
    ctx: typer.Context, jobs: options.JobArguments, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Start jobs that were created."""
    return await _each(ctx, jobs, lambda client, job: client.call("job.start", id=job))


@command
async def stop(
    ctx: typer.Context,
    jobs: options.JobArguments,
    strategy: Annotated[str | None, typer.Option("--strategy", help="The stop strategy.")] = None,
    signal: Annotated[str | None, typer.Option("--signal", metavar="SIG", help="The first signal.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="K=V", help="An option of the strategy: JSON, or text.")
    ] = None,
    grace: options.Grace = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Stop jobs with all their processes."""
    return await _stop(ctx, jobs, spec.stop_spec(strategy, signal, grace, spec.values("--option", option)))


@command
async def kill(
    ctx: typer.Context,
    jobs: options.JobArguments,
    signal: Annotated[
        str | None, typer.Option("-s", "--signal", metavar="SIG", help="Send only this signal.")
    ] = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Kill jobs with all their processes; with --signal, only send that signal to them."""
    if signal is None:
        return await _stop(ctx, jobs, StopSpec(strategy="kill"))
    return await _each(ctx, jobs, lambda client, job: client.call("job.signal", id=job, signal=signal, target="all"))


@command
async def pause(
    ctx: typer.Context, jobs: options.JobArguments, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Pause jobs with all their processes."""
    return await _each(ctx, jobs, lambda client, job: client.call("job.pause", id=job))


@command
async def resume(
    ctx: typer.Context, jobs: options.JobArguments, quiet: options.Quiet = False, json_: options.Json = False
) -> int:
    """Resume paused jobs."""
    return await _each(ctx, jobs, lambda client, job: client.call("job.resume", id=job))


@command
async def update(
    ctx: typer.Context,
    jobs: options.JobArguments,
    timeout: options.Timeout = None,
    idle_timeout: options.IdleTimeout = None,
    label: options.Label = None,
    memory: options.Memory = None,
    cpus: Annotated[str | None, typer.Option("--cpus", metavar="N", help="CPU limit.")] = None,
    pids: Annotated[str | None, typer.Option("--pids", metavar="N", help="Limit of processes and threads.")] = None,
    io_read: options.IoRead = None,
    io_write: options.IoWrite = None,
    force: Annotated[
        bool, typer.Option("--force", help="Allow a memory limit below what the job uses: the kernel may kill it.")
    ] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Change the limits of jobs, or replace their labels. "none" is no limit.

    Running jobs get the new limits at once. Time limits count from the start of the job.
    """
    changes = spec.changes(ctx.params)
    return await _each(ctx, jobs, lambda client, job: client.call("job.update", id=job, **changes))


@command
async def rm(
    ctx: typer.Context,
    jobs: options.JobArguments,
    force: Annotated[bool, typer.Option("-f", "--force", help="Kill jobs that run.")] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Remove jobs that have ended, with their logs."""
    return await _each(ctx, jobs, lambda client, job: client.call("job.delete", id=job, force=force))


async def _stop(ctx: typer.Context, jobs: list[str], stop_spec: StopSpec) -> int:
    params = {"stop": msgspec.to_builtins(stop_spec)} if stop_spec != StopSpec() else {}
    return await _each(ctx, jobs, lambda client, job: client.call("job.stop", id=job, **params))


async def _each(ctx: typer.Context, jobs: list[str], act: Act) -> int:
    """Call `act` for all jobs at once; report each failure and return the exit code of the first."""
    async with ctx.obj.client() as client:
        codes = await asyncio.gather(*(_act_on(ctx, client, text, act) for text in dict.fromkeys(jobs)))
    return next((code for code in codes if code), 0)


async def _act_on(ctx: typer.Context, client: Client, text: str, act: Act) -> int:
    try:
        job = await job_id(client, text)
        result = await act(client, job)
        _report_faults(job, result)
    except JobworkerError as error:
        return failures.report(error)
    state = f"  {describe.state(msgspec.convert(result, Job))}" if "state" in result else ""
    output.show(result, [job + state], as_json=ctx.params["json_"], quiet=ctx.params["quiet"], ids=[job])
    return 0


def _report_faults(job: str, result: Any) -> None:
    """Note which stop strategy failed; the job is stopped nevertheless."""
    exit_ = result.get("exit") if isinstance(result, dict) else None
    for step in ((exit_ or {}).get("receipt") or {}).get("steps", []):
        if step["action"] == "strategy_failed":
            output.note(f"{job}: {step.get('detail')}; the agent killed what was left, and its log has more")
