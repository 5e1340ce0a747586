"""`jw create`, `start`, `stop`, `kill`, `pause`, `resume`, `update`, `rm`: change jobs, several at once."""

from collections.abc import Sequence
from typing import Annotated, Any

from jobworker.errors import JobworkerError
from jobworker_cli import describe, failures, options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option
from jobworker_cli.output import progress
from jobworker_cli.resolve import FINAL, LIVE, NOT_FINAL, list_all, warn_of_namesakes
from jobworker_cli.selection import Sure, select


@command
def create(
    ctx: Context,
    command: options.Command,
    env: options.Env = None,
    env_file: options.EnvFile = None,
    secret: options.Secret = None,
    secret_file: options.SecretFile = None,
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
    log_max: options.LogMax = None,
    log_keep: options.LogKeep = None,
    on_bound: options.OnBound = None,
    on_full: options.OnFull = None,
    memory: options.Memory = None,
    cpus: options.Cpus = None,
    pids: options.Pids = None,
    io_read: options.IoRead = None,
    io_write: options.IoWrite = None,
    pid_namespace: options.PidNamespace = None,
    private_tmp: options.PrivateTmp = None,
    no_network: options.NoNetwork = False,
    no_userns: options.NoUserns = False,
    write: options.Write = None,
    executor: options.Executor = None,
    executor_option: options.ExecutorOption = None,
    stdin: options.Stdin = False,
    tty: options.Tty = 0,
    key: options.Key = None,
    shell: options.Shell = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Create a job without starting it, and print its id."""
    from jobworker_cli import spec  # slow to import

    params = {"spec": spec.from_options(ctx.params, local=ctx.obj.local)} | ({} if key is None else {"key": key})
    with ctx.obj.blocking() as client:
        job = client.call("job.create", **params)
        if name is not None:
            warn_of_namesakes(job["id"], name, list_all(client, NOT_FINAL))
    output.show(job, [job["id"]], as_json=json_, quiet=quiet, ids=[job["id"]])


@command
def start(
    ctx: Context,
    jobs: options.SomeJobs = None,
    selected: options.Labelled = None,
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Start jobs that were created."""
    return _each(ctx, "job.start", ["created"])


@command
def stop(
    ctx: Context,
    jobs: options.SomeJobs = None,
    strategy: Annotated[str | None, Option("--strategy", help="The stop strategy.")] = None,
    signal: Annotated[str | None, Option("-s", "--signal", metavar="SIG", help="The first signal.")] = None,
    option: Annotated[
        list[str] | None, Option("--option", metavar="K=V", help="An option of the strategy: JSON, or text.")
    ] = None,
    grace: Annotated[
        str | None,
        Option(
            "-t", "--grace", also=["--time", "--timeout", "--grace-period"], metavar="D", help="Time until SIGKILL."
        ),
    ] = None,
    selected: options.Labelled = None,
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Stop jobs with all their processes."""
    params: dict[str, Any] = {}
    if strategy is not None or signal is not None or option or grace is not None:
        from jobworker_cli import spec  # slow to import

        params["stop"] = spec.stop_spec(strategy, signal, grace, spec.values("--option", option))
    return _each(ctx, "job.stop", **params)


@command
def kill(
    ctx: Context,
    jobs: options.SomeJobs = None,
    signal: Annotated[
        str | None, Option("-s", "--signal", bare=True, metavar="SIG", help="Send only this signal, also as -HUP.")
    ] = None,
    selected: options.Labelled = None,
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Kill jobs with all their processes; with --signal, only send that signal to them."""
    if signal is None:
        return _each(ctx, "job.stop", stop={"strategy": "kill"})
    return _each(ctx, "job.signal", signal=signal, target="all")


@command
def pause(
    ctx: Context,
    jobs: options.SomeJobs = None,
    selected: options.Labelled = None,
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Pause jobs with all their processes."""
    return _each(ctx, "job.pause", ["running"])


@command
def resume(
    ctx: Context,
    jobs: options.SomeJobs = None,
    selected: options.Labelled = None,
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Resume paused jobs."""
    return _each(ctx, "job.resume", ["paused"])


@command
def update(
    ctx: Context,
    jobs: options.SomeJobs = None,
    timeout: options.Timeout = None,
    idle_timeout: options.IdleTimeout = None,
    label: options.Label = None,
    memory: options.Memory = None,
    cpus: Annotated[str | None, Option("--cpus", metavar="N", help="CPU limit.")] = None,
    pids: Annotated[str | None, Option("--pids", metavar="N", help="Limit of processes and threads.")] = None,
    io_read: options.IoRead = None,
    io_write: options.IoWrite = None,
    force: Annotated[
        bool, Option("--force", help="Allow a memory limit below what the job uses: the kernel may kill it.")
    ] = False,
    selected: options.Selected = None,
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Change the limits of jobs, or replace their labels. "none" is no limit.

    Running jobs get the new limits at once. Time limits count from the start of the job.
    """
    from jobworker_cli import spec  # slow to import

    return _each(ctx, "job.update", NOT_FINAL, **spec.changes(ctx.params))


@command
def rm(
    ctx: Context,
    jobs: options.SomeJobs = None,
    force: Annotated[bool, Option("-f", "--force", help="Kill jobs that run.")] = False,
    selected: options.Labelled = None,
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Remove jobs that have ended, with their logs."""
    return _each(ctx, "job.delete", None if force else FINAL, force=force)


def _each(ctx: Context, method: str, states: Sequence[str] | None = LIVE, **params: Any) -> int:
    """Call a method for all chosen jobs at once; report each failure and return the exit code of the first.

    `states` are those of the jobs for which the method is, None for any.
    """
    codes: dict[str, int] = {}
    options = ctx.params
    sure = Sure(method.removeprefix("job."), yes=options["yes"])
    with ctx.obj.blocking() as client:
        ids, code = select(client, options["jobs"], options["selected"], states, sure)
        calls = [(method, {"id": job} | params) for job in ids.values()]
        for number, outcome in progress.shown(method.removeprefix("job."), client.call_all(calls), len(calls)):
            text, job = [*ids.items()][number]
            codes[text] = _report(ctx, job, outcome)
    return code or next((codes[text] for text in ids if codes[text]), 0)


def _report(ctx: Context, job: str, outcome: Any) -> int:
    """Print the outcome of a call; return its exit code."""
    if isinstance(outcome, JobworkerError):
        return failures.report(outcome, job)
    _report_faults(job, outcome)
    outcome = {"id": job} | outcome
    state = f"  {describe.state(outcome)}" if "state" in outcome else ""
    output.show(outcome, [job + state], as_json=ctx.params["json_"], quiet=ctx.params["quiet"], ids=[job])
    return 0


def _report_faults(job: str, result: Any) -> None:
    """Note which stop strategy failed; the job is stopped nevertheless."""
    exit_ = result.get("exit") if isinstance(result, dict) else None
    for step in ((exit_ or {}).get("receipt") or {}).get("steps", []):
        if step["action"] == "strategy_failed":
            output.note(f"{job}: {step.get('detail')}; the agent killed what was left, and its log has more")
