"""`jw prune`: remove the jobs that have ended."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from jobworker.errors import JobNotFound, JobworkerError
from jobworker.units import bytes_text, seconds
from jobworker_cli import failures, options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.output import progress
from jobworker_cli.pairs import pairs
from jobworker_cli.resolve import FINAL, list_all
from jobworker_cli.selection import Sure
from jobworker_cli.spec import duration


@command
def prune(
    ctx: Context,
    older: Annotated[
        str | None,
        Option("--older-than", also=["--until"], metavar="D", help="Only jobs that ended this long ago: 7d."),
    ] = None,
    keep: Annotated[int | None, Option("--keep", metavar="N", min=0, help="Keep the newest N of them.")] = None,
    selected: Annotated[
        list[str] | None, Option("-l", "--label", also=["--selector"], metavar="K=V", help="Only with this label.")
    ] = None,
    owner: Annotated[str | None, Option("--owner", metavar="O", help="Only of this owner, as token:alice.")] = None,
    dry_run: Annotated[bool, Option("-n", "--dry-run", help="Show them, and remove none.")] = False,
    yes: Annotated[bool, Option("-y", "--yes", also=["-f", "--force"], help="Do not ask.")] = False,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> int:
    """Remove all jobs that have ended, with their logs."""
    with ctx.obj.blocking() as client:
        others: dict[str, Any] = {} if owner is None else {"owner": owner}
        jobs = list_all(client, FINAL, pairs("--label", selected), **others)
        jobs = [job for job in jobs if _is_over(job, _before(older))][keep or 0 :]
        size = bytes_text(sum(job["log"]["bytes"] for job in jobs))
        named = f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"
        if dry_run or not jobs:
            ids = [job["id"] for job in jobs]
            done = {"removed": [], "would_remove": ids, "bytes": 0}
            output.show(
                done, [*ids, f"{named}, {size} of logs"] if ids else ["no job"], as_json=json_, quiet=quiet, ids=ids
            )
            return 0
        Sure("remove", yes=yes).ask(f"{named} with {size} of logs {'has' if len(jobs) == 1 else 'have'} ended")
        calls = [("job.delete", {"id": job["id"]}) for job in jobs]
        removed, code = [], 0
        for number, outcome in progress.shown("removing jobs", client.call_all(calls), len(calls), alone=True):
            if not isinstance(outcome, JobworkerError):
                removed.append(jobs[number])
            elif not isinstance(outcome, JobNotFound):  # another client has removed it
                code = code or failures.report(outcome, jobs[number]["id"])
    _show(removed, json_, quiet)
    return code


def _show(removed: list[dict[str, Any]], as_json: bool, quiet: bool) -> None:
    """Print what was removed."""
    count, ids = sum(job["log"]["bytes"] for job in removed), [job["id"] for job in removed]
    text = f"{len(ids)} job{'' if len(ids) == 1 else 's'} removed, {bytes_text(count)} of logs"
    output.show({"removed": ids, "would_remove": [], "bytes": count}, [text], as_json=as_json, quiet=quiet, ids=ids)


def _before(older: str | None) -> datetime | None:
    """Return when a job must have ended; None: at any time. Raises UsageError."""
    if older is None:
        return None
    try:
        ago = timedelta(seconds=seconds(duration(older) or 0, "--older-than"))
        return datetime.now(UTC) - ago
    except (JobworkerError, OverflowError) as error:
        raise UsageError(getattr(error, "message", f"--older-than {older}: {error}")) from None


def _is_over(job: dict[str, Any], before: datetime | None) -> bool:
    """Return whether a job ended before a time; one whose end has no time counts from its creation."""
    return before is None or datetime.fromisoformat(job["exited_at"] or job["created_at"]) <= before
