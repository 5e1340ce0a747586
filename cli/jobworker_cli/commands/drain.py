"""`jw agent drain`: have an agent start no more jobs, and wait for those that run."""

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from jobworker.errors import JobNotFound, JobworkerError, WaitTimeout
from jobworker.units import seconds
from jobworker_cli import columns, options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.output import table
from jobworker_cli.resolve import LIVE, list_all
from jobworker_cli.retry import retry

if TYPE_CHECKING:
    from jobworker.client.blocking import Client


@command
def drain(
    ctx: Context,
    off: Annotated[bool, Option("--off", help="End it: jobs are started again.")] = False,
    wait: Annotated[bool, Option("--wait", help="Wait until no job runs.")] = False,
    timeout: Annotated[
        str | None, Option("--timeout", metavar="D", help="Wait this long at most; exit with 1 if jobs are left.")
    ] = None,
    json_: options.Json = False,
) -> int:
    """Have the agent start no more jobs, also after a restart, until --off; print the jobs that run on."""
    if off and (wait or timeout is not None):
        raise UsageError("--off: ends the draining at once; expected no --wait or --timeout with it")
    limit = None if timeout is None else _limit(timeout)
    with ctx.obj.blocking(start=False) as client:
        answer = dict(retry(client, partial(client.call, "agent.undrain" if off else "agent.drain")))
        if not off and (wait or limit is not None):
            _wait(client, limit)
        jobs = [] if off else _running(client)
    answer["running"] = answer["running"] if off else len(jobs)
    shown = columns.of("wide", 0)
    rows = ([show(job) for _, show in shown] for job in jobs)
    lines = table.lines([title for title, _ in shown], rows) if jobs else []
    output.show(answer | {"jobs": jobs}, lines, as_json=json_)
    if off:
        output.note("the agent starts jobs again")
        return 0
    output.note(f"the agent starts no jobs, and {_count(len(jobs))} {'run' if len(jobs) > 1 else 'runs'}")
    output.hint("jw agent drain --off" if not jobs or wait or timeout else "jw agent drain --wait")
    return 1 if jobs and limit is not None else 0


def _limit(text: str) -> float:
    """Return a time limit in seconds; raise UsageError."""
    from jobworker_cli.spec import duration  # slow to import

    try:
        return seconds(duration(text) or 0, "--timeout")
    except JobworkerError as error:
        raise UsageError(error.message) from None


def _running(client: "Client") -> list[dict[str, Any]]:
    return retry(client, lambda: list_all(client, LIVE))


def _wait(client: "Client", limit: float | None) -> None:
    """Return when no job runs, or after `limit` seconds."""
    end = None if limit is None else time.monotonic() + limit
    jobs = _running(client)
    if jobs:
        output.note(f"waiting for {_count(len(jobs))}")
    for job in jobs:  # no other starts: all take as long as the slowest
        try:
            retry(client, partial(_wait_one, client, job["id"], end))
        except WaitTimeout:
            return
        except JobNotFound:
            continue  # deleted meanwhile


def _wait_one(client: "Client", job: str, end: float | None) -> None:
    left = {} if end is None else {"timeout": max(end - time.monotonic(), 0.001)}
    client.call("job.wait", id=job, **left)


def _count(jobs: int) -> str:
    return f"{jobs} job{'' if jobs == 1 else 's'}" if jobs else "no job"
