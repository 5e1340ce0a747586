"""Wait for what jobs may do: end, start, or write a line. The order of the jobs is that of the command line."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from jobworker.client import Client, Subscription
from jobworker.errors import ConnectionFailed, WaitTimeout
from jobworker.protocol import STREAMS
from jobworker_cli import describe, failures, output
from jobworker_cli.declare import UsageError
from jobworker_cli.endpoint import Choice
from jobworker_cli.output.sanitise import printable

MAX_LINE_BYTES = 1 << 20  # of a longer line only the end is compared
Plain = dict[str, Any]


class Aim(Protocol):
    """What is waited for."""

    async def reach(self, client: Client, job: str) -> Plain:
        """Return what is shown of a job, with its `id`, when it has come to this; it may not come."""

    def code(self, reached: Plain) -> int:
        """Return the exit code for a job, and note what the user must know."""

    def text(self, reached: Plain) -> str:
        """Return what is printed of it; "" for nothing."""


class Exited:
    """The end of a job."""

    async def reach(self, client: Client, job: str) -> Plain:
        return await _ask(client, "job.wait", job)

    def code(self, reached: Plain) -> int:
        return describe.ended(reached)

    def text(self, reached: Plain) -> str:
        return ""


class Running:
    """The start of a job: it runs now, or has run."""

    async def reach(self, client: Client, job: str) -> Plain:
        events = await client.events()
        try:
            status = await _ask(client, "job.status", job)
            if not _begun(status):
                async for event in events:
                    if event.job.id == job:
                        status = await _ask(client, "job.status", job)
                        if _begun(status):
                            break
            return status
        finally:
            await events.close()

    def code(self, reached: Plain) -> int:
        return 0 if reached["started_at"] is not None else describe.ended(reached)

    def text(self, reached: Plain) -> str:
        return ""


async def _ask(client: Client, method: str, job: str) -> Plain:
    """Return the answer about a job, over as many connections as that takes."""
    while True:
        try:
            return dict(await client.call(method, id=job))
        except ConnectionFailed:
            await client.reconnect()


def _begun(status: Plain) -> bool:
    """Return whether a job has started, or will not."""
    return status["started_at"] is not None or status["exited_at"] is not None


class Line:
    """A whole line of the output that a regular expression finds something in."""

    def __init__(self, pattern: str) -> None:
        try:
            self._pattern = re.compile(pattern.encode(errors="surrogateescape"))
        except re.error as error:
            raise UsageError(f"--for log:{pattern}: {error}; expected a regular expression") from None
        self._shown = pattern

    async def reach(self, client: Client, job: str) -> Plain:
        subscription = await client.subscribe(job)
        async with subscription:
            async for line in _lines(subscription):
                if self._pattern.search(line):
                    return {"id": job, "line": line.decode(errors="surrogateescape")}
        return {"id": job, "line": None}

    def code(self, reached: Plain) -> int:
        if reached["line"] is None:
            output.note(f"job {reached['id']}: it has ended, and no line of its output is like {self._shown!r}")
            return failures.RUN_FAILED
        return 0

    def text(self, reached: Plain) -> str:
        return reached["line"] or ""


async def _lines(subscription: Subscription) -> AsyncIterator[bytes]:
    """Yield the lines of a log without their ends, of each stream for itself."""
    rest = dict.fromkeys(STREAMS, b"")
    async for chunk in subscription:
        *whole, last = (rest[chunk.stream] + chunk.data).split(b"\n")
        rest[chunk.stream] = last[-MAX_LINE_BYTES:]
        for line in whole:
            yield line
    for line in filter(None, rest.values()):
        yield line


async def wait(
    choice: Choice, jobs: Sequence[str], aim: Aim, *, some: bool, limit: float | None, show: "Show"
) -> int:
    """Return the exit code when all of the jobs, or `some` one, have come to what is waited for.

    Raises WaitTimeout after `limit` seconds.
    """
    async with choice.client() as client:
        try:
            async with asyncio.timeout(limit):
                if some:
                    return show(await _first(client, jobs, aim))
                codes = [show(await aim.reach(client, job)) for job in jobs]  # all take as long as the slowest
        except TimeoutError:
            which = f"job {jobs[0]}" if len(jobs) == 1 else f"{'one' if some else 'all'} of {len(jobs)} jobs"
            raise WaitTimeout(f"{which}: not there within {describe.span(limit or 0)}", hint="jw ps -a") from None
    return next((code for code in codes if code), 0)


async def _first(client: Client, jobs: Sequence[str], aim: Aim) -> Plain:
    """Return what the first job has come to; end the waits for the others."""
    tasks = [asyncio.create_task(aim.reach(client, job)) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Show:
    """Prints what jobs have come to."""

    def __init__(self, aim: Aim, *, as_json: bool, quiet: bool) -> None:
        self._aim = aim
        self._json = as_json
        self._quiet = quiet

    def __call__(self, reached: Plain) -> int:
        """Print it; return its exit code."""
        text = [printable(line) for line in [self._aim.text(reached)] if line]
        output.show(reached, text, as_json=self._json, quiet=self._quiet, ids=[reached["id"]])
        return self._aim.code(reached)
