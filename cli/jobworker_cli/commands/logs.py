"""`jw logs`: print or follow the logs of jobs."""

from functools import partial
from typing import Annotated

from jobworker_cli import failures, one_log, options
from jobworker_cli.command import attempt
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.moments import moment
from jobworker_cli.output.records import Records

NOTHING_FOUND = 1  # the exit code if no line has a match, as that of grep


def logs(
    ctx: Context,
    jobs: options.JobArguments,
    follow: Annotated[bool, Option("-f", "--follow", help="Follow the log until the job ends.")] = False,
    lines: Annotated[
        int | None, Option("-n", "--tail", also=["--lines"], metavar="N", min=0, help="Begin with the last N lines.")
    ] = None,
    since: Annotated[
        str | None,
        Option("--since", metavar="T", help="Begin at a time, as 2026-11-28 or 14:30, or a duration ago: 10m."),
    ] = None,
    until: Annotated[str | None, Option("--until", metavar="T", help="End at a time, or a duration ago.")] = None,
    offset: Annotated[int | None, Option("--offset", metavar="N", help="Begin at this byte of the log.")] = None,
    times: Annotated[
        bool, Option("-t", "--times", also=["--timestamps"], help="Write its time before each line.")
    ] = False,
    stdout: Annotated[bool, Option("--stdout", help="Only what the job wrote to stdout.")] = False,
    stderr: Annotated[bool, Option("--stderr", help="Only what the job wrote to stderr.")] = False,
    grep: Annotated[
        str | None, Option("--grep", metavar="RE", help="Only lines with a match of this regular expression.")
    ] = None,
    ignore_case: Annotated[
        bool, Option("-i", "--ignore-case", help="With --grep: upper and lower case are the same.")
    ] = False,
    exit_code: Annotated[bool, Option("--exit-code", help="With --follow: exit with the code of the job.")] = False,
    as_cast: Annotated[
        bool, Option("--cast", help="Print what its terminal has shown as a recording: asciicast, version 2.")
    ] = False,
    raw: options.Raw = False,
    json_: options.Json = False,
) -> int:
    """Print the output of jobs, stdout to stdout and stderr to stderr; with several jobs, each line after its job.

    With --json, one line for each chunk, and a last one for the end of each job. With --grep, exit with 1 if no line
    matches.
    """
    if sum(start is not None for start in (lines, since, offset)) > 1:
        raise UsageError("--tail, --since, --offset: each is where to begin; expected one of them")
    if until is not None and follow:
        raise UsageError("--until ends before the job may: it cannot be used with --follow")
    if exit_code and not follow:
        raise UsageError("--exit-code needs --follow, which ends when the job does")
    if as_cast:
        ways = (follow, lines is not None, since, until, offset is not None, times, stdout, stderr, raw, json_, grep)
        if any(ways) or len(jobs) > 1:
            raise UsageError("--cast prints one job, all of it: expected no other option, and one JOB")
        from jobworker_cli import many_logs  # needs asyncio, which is slow to import

        return attempt(lambda: many_logs.cast(ctx.obj, jobs[0]))
    if ignore_case and grep is None:
        raise UsageError("--ignore-case needs --grep, whose pattern it is for")
    if grep == "":
        raise UsageError("--grep: it is empty; expected a regular expression, as 'error|warn'")
    since, until = (None if text is None else moment(text) for text in (since, until))
    chosen = [name for name, wanted in (("stdout", stdout), ("stderr", stderr)) if wanted]
    request = {"offset": offset, "tail": lines, "since": since, "until": until, "streams": chosen or None}
    request |= {"follow": follow, "arrivals": times}
    names = [*dict.fromkeys(jobs)]
    way = partial(Records, as_json=json_, raw=raw, times=times)
    failed = failures.RUN_FAILED if exit_code else None
    if grep is None and len(names) == 1:
        return attempt(partial(one_log.follow, ctx.obj, names[0], way(), request, exit_code), failed)
    from jobworker_cli import many_logs
    from jobworker_cli.grep import Grep

    if grep is None:
        return attempt(partial(many_logs.follow, ctx.obj, {job: way() for job in names}, request, exit_code), failed)
    wanted = Grep(grep, case=not ignore_case)
    if follow or lines is not None or since is not None or until is not None or times or json_:
        filtered = {job: way(lines=wanted.filters()) for job in names}
        body = partial(many_logs.follow, ctx.obj, filtered, request, exit_code)
    else:
        body = partial(many_logs.searched, ctx.obj, names, way, request, wanted)
    code = attempt(body, failed)
    return code if code or exit_code or wanted.found else NOTHING_FOUND
