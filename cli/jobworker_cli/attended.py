"""`jw run` without --detach: follow the job until it ends or the user leaves it."""

import asyncio
import os
import secrets

from jobworker.client import Client, Events, Subscription
from jobworker.errors import ConnectionFailed, JobworkerError, PermissionDenied
from jobworker.model import JobSpec, to_builtins
from jobworker_cli import describe, failures, output
from jobworker_cli.endpoint import Choice
from jobworker_cli.interrupts import Interrupts
from jobworker_cli.output.records import Records
from jobworker_cli.resolve import NOT_FINAL, PAGE_JOBS, warn_of_namesakes
from jobworker_cli.send_input import send_input, widen_stdin
from jobworker_cli.unread_input import UnreadInput


async def follow(choice: Choice, wanted: JobSpec, key: str | None, records: Records, *, ends_input: bool) -> int:
    """Follow the job until it ends or the user leaves it; `ends_input`: its input ends with this connection."""
    interrupts = Interrupts()
    following = asyncio.create_task(_follow(choice, wanted, key, records, interrupts, ends_input))
    leaving = asyncio.create_task(interrupts.leaving())
    await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not leaving.done():
        leaving.cancel()
        return following.result()
    await interrupts.note_how_to_come_back()
    os._exit(failures.LEFT)  # a thread may hang in a write to a reader that has stopped


async def _follow(
    choice: Choice, wanted: JobSpec, key: str | None, records: Records, interrupts: Interrupts, ends_input: bool
) -> int:
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
            await records.begin(subscription.job)
            await _exchange(client, subscription, records, wanted, ends_input)
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
        return describe.exit_code(end) or describe.missing_code(subscription)


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


async def _exchange(
    client: Client, subscription: Subscription, records: Records, wanted: JobSpec, ends_input: bool
) -> None:
    """Show the output of the job to its end, and send it the input of `jw` meanwhile, if it has one."""
    following = asyncio.create_task(records.follow(subscription))
    tasks = [following]
    if wanted.stdin is not None:
        widen_stdin()
        target = await client.input(subscription.job.id, 0)
        tasks.append(asyncio.create_task(send_input(target, ends=ends_input)))
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
