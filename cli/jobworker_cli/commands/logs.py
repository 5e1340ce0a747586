"""`jw logs`: print or follow the logs of jobs."""

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

from jobworker.client import Subscription
from jobworker.errors import ConnectionFailed, JobworkerError, MethodNotFound, NotSupported, RateLimited
from jobworker.model import Job, to_builtins
from jobworker_cli import describe, failures, options, output
from jobworker_cli.command import attempt
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.endpoint import Choice
from jobworker_cli.grep import Grep
from jobworker_cli.moments import moment
from jobworker_cli.output import progress
from jobworker_cli.output.records import Records
from jobworker_cli.output.sanitise import printable
from jobworker_cli.output.width import pad, width
from jobworker_cli.resolve import job_id_async

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
        return attempt(lambda: _cast(ctx.obj, jobs[0]))
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
    if grep is None:
        body = partial(_logs, ctx.obj, {job: way() for job in names}, request, exit_code)
        return attempt(body, failures.RUN_FAILED if exit_code else None)
    wanted = Grep(grep, case=not ignore_case)
    if follow or lines is not None or since is not None or until is not None or times or json_:
        body = partial(_logs, ctx.obj, {job: way(lines=wanted.filters()) for job in names}, request, exit_code)
    else:
        body = partial(_searched, ctx.obj, names, way, request, wanted)
    code = attempt(body, failures.RUN_FAILED if exit_code else None)
    return code if code or exit_code or wanted.found else NOTHING_FOUND


async def _searched(
    choice: Choice, names: list[str], way: "partial[Records]", request: dict[str, Any], grep: Grep
) -> int:
    """Have the agent search; if it cannot, search in what it sends."""
    try:
        return await _search(choice, {name: way() for name in names}, request, grep)
    except (MethodNotFound, NotSupported):  # an agent of an earlier version, or without RE2
        return await _logs(choice, {name: way(lines=grep.filters()) for name in names}, request, exit_code=False)


async def _search(choice: Choice, records_by_job: dict[str, Records], request: dict[str, Any], grep: Grep) -> int:
    code = 0
    async with choice.client() as client:
        pairs = []
        for text, records in records_by_job.items():
            try:
                pairs.append((records, await client.status(await job_id_async(client, text))))
            except ConnectionFailed:
                raise
            except JobworkerError as error:  # the logs of the others are searched
                code = code or failures.report(error, text)
        _label_all(pairs, several=len(records_by_job) > 1)
        try:
            for records, job in pairs:
                async for line in grep.search(client, job.id, request):
                    await records.write(job.id, line)
                await records.finish()
                if lost := describe.not_searched(await client.status(job.id), request["offset"] or 0):
                    output.note(lost)
                    code = code or describe.MISSING
        except output.ReaderGone:
            os._exit(0)
    return code


def _label_all(pairs: list[tuple[Records, Job]], *, several: bool) -> None:
    """Put the name of its job before each line, if there are several jobs."""
    labels = [printable(job.name or job.id) for _, job in pairs]
    widest = max(map(width, labels), default=0)
    for (records, _), label in zip(pairs, labels, strict=True):
        records.prefix = f"{pad(label, widest)} | ".encode() if several else b""


async def _cast(choice: Choice, text: str) -> None:
    """Print the log of a job as a recording."""
    from jobworker_cli.recording import cast  # seldom needed

    async with choice.client() as client:
        async for line in cast(client, await job_id_async(client, text)):
            output.emit(line)


async def _logs(choice: Choice, records_by_job: dict[str, Records], request: dict[str, Any], exit_code: bool) -> int:
    code = 0
    async with Subscriber(choice) as subscriber:
        pairs = []
        for text, records in records_by_job.items():
            try:
                pairs.append((records, await subscriber.subscribe(text, request)))
            except ConnectionFailed:
                raise
            except JobworkerError as error:  # the logs of the others are shown
                reported = failures.report(error, text)
                code = code or (failures.RUN_FAILED if exit_code else reported)
        _label_all([(records, subscription.job) for records, subscription in pairs], several=len(records_by_job) > 1)
        whole = not request["follow"] and all(
            request[begin] is None for begin in ("offset", "tail", "since", "until")
        )
        total = sum(subscription.job.log.bytes for _, subscription in pairs) if whole else 0
        try:
            with progress.download(total) as passed:
                for records, _ in pairs:
                    records.passed = passed
                await asyncio.gather(*(records.follow(subscription) for records, subscription in pairs))
        except output.ReaderGone:
            os._exit(0)  # closing the connection properly would wait for all that is still to be received
    missing = next((code for code in (describe.missing_code(subscription) for _, subscription in pairs) if code), 0)
    if not exit_code:
        return code or missing
    ends = [subscription.end for _, subscription in pairs]
    codes = [describe.exit_code(to_builtins(end.exit) if end else None) for end in ends]
    return code or next((code for code in codes if code), missing)


class Subscriber:
    """Subscribes to logs; over a further connection when one has as many subscriptions as the agent allows."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Subscriber":
        self._client = await self._stack.enter_async_context(self._choice.client())
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()

    async def subscribe(self, text: str, request: dict[str, Any]) -> Subscription:
        """Return a subscription to the log of the job that a text means; raise JobworkerError."""
        job = await job_id_async(self._client, text)
        try:
            return await self._client.subscribe(job, **request)
        except RateLimited:
            self._client = await self._stack.enter_async_context(self._choice.client())
            return await self._client.subscribe(job, **request)
