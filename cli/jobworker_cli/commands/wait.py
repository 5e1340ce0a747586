"""`jw wait`: wait for the end of jobs, for their start, or for a line of their output."""

from functools import partial
from typing import Annotated, Any

from jobworker.errors import JobworkerError
from jobworker.units import seconds
from jobworker_cli import describe, options, output
from jobworker_cli.command import job_command
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.failures import RUN_FAILED
from jobworker_cli.resolve import NOT_FINAL, job_id
from jobworker_cli.retry import retry
from jobworker_cli.selection import select

EXITED, RUNNING, LOG = "exited", "running", "log:"


@job_command
def wait(
    ctx: Context,
    jobs: options.SomeJobs = None,
    what: Annotated[
        str,
        Option(
            "--for", metavar="WHAT", help='What to wait for: "exited", "running", or "log:REGEX", a line like it.'
        ),
    ] = EXITED,
    some: Annotated[bool, Option("--any", help="Wait for the first of the jobs only.")] = False,
    timeout: Annotated[
        str | None, Option("--timeout", metavar="D", help="Give up after this time: exit 125.")
    ] = None,
    selected: options.Labelled = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> Any:
    """Wait until jobs end and exit with the code of the first that is not 0, as `jw run` does."""
    limit = None if timeout is None else _limit(timeout)
    if what not in (EXITED, RUNNING) and not what.startswith(LOG):
        raise UsageError(f'--for {what!r}; expected "exited", "running" or "log:REGEX"')
    with ctx.obj.blocking() as client:
        if what == EXITED and jobs is not None and len(jobs) == 1 and not selected:
            params = {"id": job_id(client, jobs[0])} | ({} if limit is None else {"timeout": limit})
            status = retry(client, partial(client.call, "job.wait", **params))
            output.show(status, as_json=json_, quiet=quiet, ids=[status["id"]])
            return describe.ended(status)
        ids, code = select(client, jobs, selected, NOT_FINAL)
    if code:
        return RUN_FAILED  # the code of the error might be that of a job
    if not ids:
        return 0
    from jobworker_cli import waiting  # needs asyncio, which is slow to import

    aim: waiting.Aim = waiting.Exited()
    if what != EXITED:
        aim = waiting.Running() if what == RUNNING else waiting.Line(what.removeprefix(LOG))
    show = waiting.Show(aim, as_json=json_, quiet=quiet)
    return waiting.wait(ctx.obj, [*dict.fromkeys(ids.values())], aim, some=some, limit=limit, show=show)


def _limit(text: str) -> float:
    """Return a time limit in seconds; raise UsageError."""
    from jobworker_cli.spec import duration  # slow to import

    try:
        return seconds(duration(text) or 0, "--timeout")
    except JobworkerError as error:
        raise UsageError(error.message) from None
