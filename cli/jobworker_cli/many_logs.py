"""`jw logs` for what needs several answers at once, so asyncio: several jobs, a search by the agent, a recording."""

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from jobworker.client import Subscription
from jobworker.errors import ConnectionFailed, JobworkerError, MethodNotFound, NotSupported, RateLimited
from jobworker.model import Job, to_builtins
from jobworker_cli import describe, failures, one_log, output
from jobworker_cli.endpoint import Choice
from jobworker_cli.grep import Grep
from jobworker_cli.output import progress
from jobworker_cli.output.records import Records
from jobworker_cli.output.sanitise import printable
from jobworker_cli.output.width import pad, width
from jobworker_cli.resolve import job_id_async


async def searched(
    choice: Choice, names: list[str], way: "partial[Records]", request: dict[str, Any], grep: Grep
) -> int:
    """Have the agent search; if it cannot, search in what it sends."""
    try:
        return await _search(choice, {name: way() for name in names}, request, grep)
    except (MethodNotFound, NotSupported):  # an agent of an earlier version, or without RE2
        return await follow(choice, {name: way(lines=grep.filters()) for name in names}, request, exit_code=False)


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
                await records.finish(job.id)
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


async def cast(choice: Choice, text: str) -> None:
    """Print the log of a job as a recording."""
    from jobworker_cli import recording  # seldom needed

    async with choice.client() as client:
        async for line in recording.cast(client, await job_id_async(client, text)):
            output.emit(line)


async def follow(choice: Choice, records_by_job: dict[str, Records], request: dict[str, Any], exit_code: bool) -> int:
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
        total = sum(subscription.job.log.bytes for _, subscription in pairs) if one_log.is_whole(request) else 0
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
