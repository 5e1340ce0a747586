"""`jw run`: create, follow and start a job; exit with its code."""

import asyncio
import os
import secrets

import click
import typer

from jobworker import model
from jobworker.client import Client, Subscription
from jobworker.errors import ConnectionFailed, ExecFailed, InvalidState, JobworkerError
from jobworker_cli import describe, failures, options, output, spec
from jobworker_cli.command import job_command
from jobworker_cli.endpoint import Choice
from jobworker_cli.interrupts import Interrupts
from jobworker_cli.output.records import Records


@job_command
async def run(
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
    detach: options.Detach = False,
    raw: options.Raw = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Run a command, show its output, exit with its code.

    124: timed out. 125: jw or the agent failed. 126: not executable. 127: not found. 128+n: killed by
    signal n. Ctrl-C once stops the job, twice kills it, three times leaves it running (130).
    """
    if quiet and not detach:
        raise click.UsageError("--quiet prints the id: use it with --detach")
    choice: Choice = ctx.obj
    wanted = spec.from_options(ctx.params, local=choice.local)
    try:
        if detach:
            return await _detach(choice, wanted, key, as_json=json_)
        return await _attended(choice, wanted, key, Records(as_json=json_, raw=raw))
    except ExecFailed as error:
        return start_failed(error)


def start_failed(error: ExecFailed) -> int:
    """Report why a job did not start; return the exit code that shells use for it."""
    job = error.data.get("job")
    failures.report(ExecFailed(f"{error.message} (job {job})", hint=error.hint or f"jw status {job}"))
    return describe.start_code(error.data.get("step"), error.data.get("errno"))


async def _detach(choice: Choice, wanted: model.JobSpec, key: str | None, *, as_json: bool) -> int:
    async with choice.client() as client:
        job = await client.create(wanted, key)
        if job.state == model.State.CREATED:
            try:
                job = await client.start(job.id)
            except InvalidState:
                pass  # another client with the same key has started it
        result = await client.call("job.status", id=job.id) if as_json else None
    output.show(result, [job.id], as_json=as_json)
    return 0


async def _attended(choice: Choice, wanted: model.JobSpec, key: str | None, records: Records) -> int:
    """Follow the job until it ends or the user leaves it."""
    interrupts = Interrupts()
    following = asyncio.create_task(_follow(choice, wanted, key, records, interrupts))
    leaving = asyncio.create_task(interrupts.leaving())
    await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not leaving.done():
        leaving.cancel()
        return following.result()
    await interrupts.note_how_to_come_back()
    os._exit(failures.LEFT)  # a thread may hang in a write to a reader that has stopped


async def _follow(
    choice: Choice, wanted: model.JobSpec, key: str | None, records: Records, interrupts: Interrupts
) -> int:
    async with choice.client() as client:
        subscription = await _begin(client, wanted, key)
        job = subscription.job.id
        interrupts.started(client, job)
        try:
            await records.begin(subscription.job)
            await records.follow(subscription)
        except output.ReaderGone:  # the job runs on
            interrupts.leave()
            return failures.LEFT
        except (JobworkerError, OSError) as error:
            failures.report(error)
            output.hint(f"the job may still run: jw logs -f {job}")
            return failures.RUN_FAILED
        finally:
            interrupts.over()
        end = None if subscription.end is None else subscription.end.exit
        if words := describe.remark(end):
            output.note(f"job {job}: {words}")
        return describe.exit_code(end)


async def _begin(client: Client, wanted: model.JobSpec, key: str | None) -> Subscription:
    """Start the job once, also if the connection is lost before the answer: the key makes the call repeatable."""
    key = key or f"jw-{secrets.token_hex(16)}"
    while True:
        try:
            return await client.run(wanted, key)
        except ConnectionFailed:
            await client.reconnect()
