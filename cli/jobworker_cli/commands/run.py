"""`jw run`: create, follow and start a job; exit with its code."""

from typing import TYPE_CHECKING, Any

from jobworker.errors import ExecFailed, InvalidState, JobworkerError, RpcError
from jobworker_cli import describe, failures, options, output, spec
from jobworker_cli.command import job_command, run_on_loop
from jobworker_cli.declare import Context, UsageError
from jobworker_cli.endpoint import Choice, fast_imports
from jobworker_cli.resolve import NOT_FINAL, list_all, warn_of_namesakes
from jobworker_cli.unread_input import UnreadInput

if TYPE_CHECKING:
    from jobworker_cli.own_terminal import OwnTerminal


@job_command
def run(
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
    stdin_close_on_disconnect: options.StdinClose = False,
    tty: options.Tty = 0,
    detach_keys: options.DetachKeys = None,
    key: options.Key = None,
    shell: options.Shell = False,
    detach: options.Detach = False,
    rm: options.Remove = False,
    raw: options.Raw = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Run a command, show its output, exit with its code.

    123: bytes of the output are missing. 124: timed out. 125: jw or the agent failed. 126: not executable.
    127: not found. 128+n: killed by signal n. Ctrl-C once stops the job, twice kills it, three times leaves it
    running (130). With -it, all keys go to the job but ctrl-p,ctrl-q, which leave it running.
    """
    if quiet and not detach:
        raise UsageError("--quiet prints the id: use it with --detach")
    if stdin_close_on_disconnect and (detach or not stdin):
        raise UsageError("--stdin-close-on-disconnect is for what jw sends: use it with -i, not --detach")
    if rm and detach:
        raise UsageError("--rm removes the job when jw has shown its end: it cannot be used with --detach")
    terminal = None if detach or not tty else _our_terminal(reads=stdin, forced=tty > 1, as_json=json_)
    choice: Choice = ctx.obj
    wanted = spec.from_options(ctx.params, local=choice.local)
    try:
        if detach:
            return _detach(choice, wanted, key, as_json=json_)
        from jobworker_cli.output.records import Records

        records = Records(as_json=json_, raw=raw or tty > 0)
        if not stdin and terminal is None and not wanted.get("timeout_policies"):
            from jobworker_cli.blocking_run import follow

            return follow(choice, wanted, key, records, removes=rm)
        with fast_imports():
            from jobworker_cli import attended  # needs asyncio, which takes long to import
            from jobworker_cli.keys import parse

        way = attended.Way(records, stdin_close_on_disconnect, terminal, parse(detach_keys), removes=rm)
        return run_on_loop(attended.follow(choice, wanted, key, way))
    except ExecFailed as error:
        return start_failed(error, kept=not (rm and _removed(choice, error)))


def _our_terminal(*, reads: bool, forced: bool, as_json: bool) -> "OwnTerminal | None":
    """Return our terminal, None if we have none and the job is to have one all the same; raise UsageError."""
    from jobworker_cli.own_terminal import OwnTerminal, is_here

    if is_here(reads=reads) and not as_json:
        return OwnTerminal()
    if forced:
        return None
    what = "--json needs none" if as_json else f"the {'input or ' if reads else ''}output of jw is none"
    raise UsageError(f"-t: jw has no terminal here: {what}; -tt gives the job one all the same")


def _removed(choice: Choice, error: ExecFailed) -> bool:
    """Remove a job that did not start; return whether it is gone."""
    try:
        with choice.blocking() as client:
            return bool(client.call("job.delete", id=error.data["job"])["deleted"])
    except (JobworkerError, KeyError):
        return False


def start_failed(error: ExecFailed, *, kept: bool = True) -> int:
    """Report why a job did not start; return the exit code that shells use for it."""
    job = error.data.get("job")
    hint = error.hint or (f"jw status {job}" if kept else "")
    failures.report(ExecFailed(f"{error.message} (job {job})" if kept else error.message, hint=hint, **error.data))
    return describe.start_code(error.data.get("step"), error.data.get("errno"))


def _detach(choice: Choice, wanted: dict[str, Any], key: str | None, *, as_json: bool) -> int:
    with choice.blocking() as client:
        job = client.call("job.create", spec=wanted, **({} if key is None else {"key": key}))
        if job["state"] == "created":
            try:
                client.call("job.start", id=job["id"])
            except InvalidState:
                pass  # another client with the same key has started it
            except RpcError as error:
                if key is None and not isinstance(error, ExecFailed):  # else the job would stay for ever
                    client.call("job.delete", id=job["id"])
                raise
        if "name" in wanted:
            warn_of_namesakes(job["id"], wanted["name"], list_all(client, NOT_FINAL))
        UnreadInput().check()
        result = client.call("job.status", id=job["id"]) if as_json else None
    output.show(result, [job["id"]], as_json=as_json)
    return 0
