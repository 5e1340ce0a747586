"""`jw agent gc`: delete what retention deletes, or show what that is."""

from typing import Annotated, Any

from jobworker.errors import JobworkerError
from jobworker.units import bytes_text, seconds, size
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.output import table

REASONS = {
    "age": "ended jobs older than retention.age",
    "jobs": "ended jobs beyond retention.jobs",
    "bytes": "ended jobs beyond retention.bytes",
    "no_job": "logs that belong to no job",
}


@command
def gc(
    ctx: Context,
    dry_run: Annotated[bool, Option("-n", "--dry-run", help="Show what it would be, and delete nothing.")] = False,
    age: Annotated[
        str | None, Option("--age", metavar="D", help="With --dry-run: as if this were retention.age.")
    ] = None,
    jobs: Annotated[
        int | None, Option("--jobs", metavar="N", min=0, help="With --dry-run: as if this were retention.jobs.")
    ] = None,
    limit: Annotated[
        str | None, Option("--bytes", metavar="SIZE", help="With --dry-run: as if this were retention.bytes.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Delete now what retention deletes, and logs that belong to no job; print it by reason."""
    limits = _limits(age, jobs, limit)
    if limits and not dry_run:
        raise UsageError(
            f"--{next(iter(limits))}: other limits are for --dry-run; jw prune deletes by age and number"
        )
    with ctx.obj.blocking(start=False) as client:
        answer = client.call("agent.garbage" if dry_run else "agent.gc", **limits)
    rows = [_row(each) for each in answer["garbage"]]
    output.show(answer, table.lines(["COUNT", "BYTES", "WHAT"], rows) if rows else [], as_json=json_)
    what = ("this" if rows else "nothing") + (" would be deleted" if dry_run else " is deleted")
    output.note(f"{what}; kept are {answer['jobs']:,} ended jobs and {bytes_text(answer['bytes'])} of logs")


def _row(garbage: dict[str, Any]) -> list[str]:
    reason = str(garbage["reason"])
    return [f"{garbage['count']:,}", bytes_text(garbage["bytes"]), REASONS.get(reason, reason)]


def _limits(age: str | None, jobs: int | None, limit: str | None) -> dict[str, Any]:
    """Return the limits that are given; raise UsageError."""
    from jobworker_cli.spec import duration  # slow to import

    try:
        given = {
            "age": None if age is None else seconds(duration(age) or 0, "--age"),
            "jobs": jobs,
            "bytes": None if limit is None else size(limit, "--bytes"),
        }
    except JobworkerError as error:
        raise UsageError(error.message) from None
    return {name: value for name, value in given.items() if value is not None}
