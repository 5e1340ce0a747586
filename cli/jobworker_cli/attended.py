"""`jw run` with input, a terminal or time limits of plugins: follow the job until it ends or the user leaves it.

These need several things at once, so asyncio; `blocking_run` is for all others.
"""

import asyncio
import os
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec

from jobworker.client import Client, Events, Subscription
from jobworker.errors import ConnectionFailed, JobworkerError, PermissionDenied
from jobworker.model import JobSpec, to_builtins
from jobworker_cli import describe, failures, output, queue
from jobworker_cli.claim import Claim
from jobworker_cli.endpoint import Choice
from jobworker_cli.interactive import TerminalRecords, converse
from jobworker_cli.interrupts import Interrupts
from jobworker_cli.output.records import Records
from jobworker_cli.own_terminal import OwnTerminal
from jobworker_cli.resolve import NOT_FINAL, PAGE_JOBS, warn_of_namesakes
from jobworker_cli.send_input import send_input, widen_stdin
from jobworker_cli.unread_input import UnreadInput


@dataclass
class Way:
    """How a job is followed."""

    records: Records
    ends_input: bool  # the input of the job ends with this connection
    terminal: OwnTerminal | None  # our terminal, if the job's is to be like it
    keys: bytes  # those that detach
    removes: bool = False  # the job when it has ended


async def follow(choice: Choice, spec: dict[str, Any], key: str | None, way: Way) -> int:
    """Follow the job until it ends or the user leaves it."""
    wanted = msgspec.convert(spec, JobSpec)
    interrupts = Interrupts()
    following = asyncio.create_task(_follow(choice, wanted, key, way, interrupts))
    leaving = asyncio.create_task(interrupts.leaving())
    await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not leaving.done():
        leaving.cancel()
        return following.result()
    if way.terminal is not None:
        way.terminal.leave()
    await interrupts.note_how_to_come_back()
    os._exit(failures.LEFT)  # a thread may hang in a write to a reader that has stopped


async def _follow(choice: Choice, wanted: JobSpec, key: str | None, way: Way, interrupts: Interrupts) -> int:
    async with choice.client() as client:
        events = await _events(client) if wanted.timeout_policies else None
        subscription = await _begin(client, wanted, key)
        job = subscription.job.id
        limits = None if events is None else asyncio.create_task(_note_failed_limits(events, job))
        interrupts.started(client, job)
        unread = None if wanted.stdin else UnreadInput()
        if unread is not None:
            unread.check()
        try:
            if wanted.name is not None:
                live = await client.call("job.list", states=NOT_FINAL, limit=PAGE_JOBS)
                warn_of_namesakes(job, wanted.name, live["jobs"])
            way.records.begin(to_builtins(subscription.job))
            await queue.wait_async(client, to_builtins(subscription.job))
            if way.terminal is not None:
                await _converse(client, subscription, wanted, way, way.terminal, interrupts)
            else:
                await _exchange(client, subscription, wanted, way)
            if unread is not None:
                unread.check()
        except output.ReaderGone:  # the job runs on
            interrupts.leave()
            return failures.LEFT
        except (JobworkerError, OSError) as error:
            failures.report(error)
            output.hint(f"the job may still run: jw logs -f {job}")
            return failures.RUN_FAILED
        finally:
            interrupts.over()
            if limits is not None:
                limits.cancel()
        end = None if subscription.end is None else to_builtins(subscription.end.exit)
        if words := describe.remark(end):
            output.note(f"job {job}: {words}")
        if way.removes and end is not None:
            await _remove(client, job)
        return describe.exit_code(end) or describe.missing_code(subscription)


async def _remove(client: Client, job: str) -> None:
    """Remove the job with its log; the exit code is that of the job all the same."""
    try:
        await client.call("job.delete", id=job)
    except JobworkerError as error:
        output.note(f"job {job} is not removed: {error.message}")


async def _events(client: Client) -> Events | None:
    """Follow the events of jobs; None if the caller may not."""
    try:
        return await client.events()
    except PermissionDenied:
        return None


async def _note_failed_limits(events: Events, job: str) -> None:
    """Report a time limit of the job that does not hold, as its policy failed: nothing else would show that."""
    async for event in events:
        if event.job.id == job and event.event == "limit_failed":
            output.note(f"job {job}: its time limit {event.by} does not hold: {event.detail}")


async def _converse(
    client: Client,
    subscription: Subscription,
    wanted: JobSpec,
    way: Way,
    terminal: OwnTerminal,
    interrupts: Interrupts,
) -> None:
    """Have our terminal be that of the job, to its end; without -i, only look at it."""
    claim = Claim(client, subscription.job.id, only_sizes=wanted.stdin is None)
    if wanted.stdin is not None:
        await claim.begin(steal=False)
    tty = wanted.terminal()
    known = None if tty is None else (tty.rows, tty.cols)
    records = TerminalRecords(terminal, 0, claim)
    keys = way.keys if wanted.stdin is not None else None
    await converse(client, subscription, records, terminal, claim, interrupts.leave, keys, known)


async def _exchange(client: Client, subscription: Subscription, wanted: JobSpec, way: Way) -> None:
    """Show the output of the job to its end, and send it the input of `jw` meanwhile, if it has one."""
    following = asyncio.create_task(way.records.follow(subscription))
    tasks = [following]
    if wanted.stdin is not None:
        widen_stdin()
        target = await client.input(subscription.job.id, 0)
        tasks.append(asyncio.create_task(send_input(target, ends=way.ends_input)))
    try:
        for task in asyncio.as_completed(tasks):
            await task
            if following.done():
                return
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _begin(client: Client, wanted: JobSpec, key: str | None) -> Subscription:
    """Start the job once, also if the connection is lost before the answer: the key makes the call repeatable."""
    key = key or f"jw-{secrets.token_hex(16)}"
    while True:
        try:
            return await client.run(wanted, key)
        except ConnectionFailed:
            await client.reconnect()
