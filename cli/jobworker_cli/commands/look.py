"""`jw ps`, `jw status`, `jw explain`: show jobs."""

from typing import Annotated

from jobworker_cli import describe, options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.output import table
from jobworker_cli.output.sanitise import printable
from jobworker_cli.resolve import NOT_FINAL, find_job, job_id, list_all

FILTERS = ("state", "name", "owner", "label")
STATES = (*NOT_FINAL, "exited")
HEAD = ("ID", "NAME", "STATE", "AGE", "RAN", "COMMAND")


@command
def ps(
    ctx: Context,
    every: Annotated[bool, Option("-a", "--all", help="Also jobs that have ended.")] = False,
    filters: Annotated[
        list[str] | None,
        Option(
            "-f", "--filter", metavar="K=V", help="Only such jobs: state=exited, name=web, owner=…, label=app=web."
        ),
    ] = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """List the jobs that have not ended, newest first."""
    wanted = [_filter(text) for text in filters or []]
    states = sorted({value for name, value in wanted if name == "state"})
    with ctx.obj.blocking() as client:
        jobs = list_all(client, states or (None if every else NOT_FINAL))
    jobs = [job for job in jobs if all(_fits(job, *each) for each in wanted if each[0] != "state")]
    rows = map(_row, jobs)
    ids = [job["id"] for job in jobs]
    output.show({"jobs": jobs, "next": None}, table.lines(HEAD, rows), as_json=json_, quiet=quiet, ids=ids)


def _filter(text: str) -> tuple[str, str]:
    """Return name and value of a filter; raise UsageError."""
    name, equals, value = text.partition("=")
    name = {"status": "state"}.get(name, name)
    if name not in FILTERS or not equals:
        raise UsageError(f"--filter: {text[:80]!r}; expected one of {', '.join(f'{each}=…' for each in FILTERS)}")
    if name == "state" and value not in STATES:
        raise UsageError(f"--filter: {value[:40]!r} is no state; expected one of {', '.join(STATES)}")
    return name, value


def _fits(job: describe.Plain, name: str, value: str) -> bool:
    if name != "label":
        return bool(job[name] == value)
    key, equals, text = value.partition("=")
    return key in job["labels"] and (not equals or job["labels"][key] == text)


def _row(job: describe.Plain) -> tuple[str, ...]:
    name, state = job["name"] or "", describe.state(job)
    return job["id"], name, state, describe.age(job), describe.ran(job), describe.command(job)


@command
def status(ctx: Context, job: options.JobArgument, quiet: options.Quiet = False, json_: options.Json = False) -> None:
    """Show a job: its state, how it ended, the steps of its stop."""
    with ctx.obj.blocking() as client:
        result = find_job(client, job)
    lines = table.pair_lines(describe.lines(result))
    output.show(result, lines, as_json=json_, quiet=quiet, ids=[result["id"]])


@command
def explain(
    ctx: Context, job: options.JobArgument, quiet: options.Quiet = False, json_: options.Json = False
) -> None:
    """Explain why a job is in its state: what happened, in order, and what caused it."""
    with ctx.obj.blocking() as client:
        result = client.call("job.explain", id=job_id(client, job))
    lines = map(printable, describe.story(result))
    output.show(result, lines, as_json=json_, quiet=quiet, ids=[result["id"]])
