"""`jw attach`: have the terminal of a running job in ours."""

import asyncio
import os
import signal
import sys
from functools import partial
from typing import Annotated

from jobworker.client import Client
from jobworker.errors import InvalidState, RpcError
from jobworker.model import to_builtins
from jobworker_cli import describe, output
from jobworker_cli.claim import Claim
from jobworker_cli.command import job_command, run_on_loop
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.endpoint import Choice
from jobworker_cli.interactive import TerminalRecords, converse
from jobworker_cli.keys import parse
from jobworker_cli.options import DetachKeys, JobArgument
from jobworker_cli.own_terminal import OwnTerminal, is_here, size
from jobworker_cli.resolve import job_id_async


@job_command
def attach(
    ctx: Context,
    job: JobArgument,
    read_only: Annotated[bool, Option("-r", "--read-only", help="Only watch: no key reaches the job.")] = False,
    steal: Annotated[bool, Option("--steal", help="Write in place of another client, which then watches.")] = False,
    detach_keys: DetachKeys = None,
) -> int:
    """Show the terminal of a job, and send it what is typed, until it ends; exit with its code.

    Any number may watch, one writes. ctrl-p,ctrl-q leave the job running (0); of a viewer, Ctrl-C too.
    """
    if read_only and steal:
        raise UsageError("--read-only and --steal: expected one of them")
    if not is_here(reads=True):
        raise UsageError("attach needs a terminal here; jw logs -f and jw write work without one")
    return run_on_loop(_attach(ctx.obj, job, parse(detach_keys), writes=not read_only, steal=steal))


async def _attach(choice: Choice, text: str, keys: bytes, *, writes: bool, steal: bool) -> int:
    terminal = OwnTerminal()
    async with choice.client() as client:
        name = await job_id_async(client, text)
        job = await client.status(name)
        if job.spec.terminal() is None:
            raise InvalidState(f"job {name} has no terminal", hint=f"jw logs -f {name}", state=job.state)
        claim = Claim(client, name)
        if writes and not job.state.final:
            await claim.begin(steal=steal)
        begin = None if job.state.final else await _draw(client, name, terminal)
        lines = size()[0] if begin is None else None
        subscription = await client.subscribe(name, begin, tail=lines, follow=True)
        left = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, left.set)
        records = TerminalRecords(terminal, begin or job.log.bytes, claim)
        showing = asyncio.create_task(converse(client, subscription, records, terminal, claim, left.set, keys, None))
        leaving = asyncio.create_task(left.wait())
        await asyncio.wait({showing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if left.is_set():
            terminal.leave()
            await asyncio.to_thread(partial(output.note, f"left job {name}; jw attach {name} comes back"))
            os._exit(0)  # a thread may hang in a write to a terminal that has stopped
        leaving.cancel()
        await showing
        end = None if subscription.end is None else to_builtins(subscription.end.exit)
        if words := describe.remark(end):
            output.note(f"job {name}: {words}")
        return describe.exit_code(end) or describe.missing_code(subscription)


async def _draw(client: Client, job: str, terminal: OwnTerminal) -> int | None:
    """Draw the screen of the job on ours, if it has room; return the offset of the output that follows."""
    rows, cols = size()
    try:
        screen = await client.screen(job, ansi=True)
    except RpcError:  # it is too large to be kept, or of an agent that has no screens
        return None
    if screen.rows > rows or screen.cols > cols or not isinstance(screen.ansi, str):
        return None
    drawn = b"\n" * rows + screen.ansi.encode()  # what our terminal shows scrolls up
    terminal.modes.feed(drawn)
    await asyncio.to_thread(output.put, sys.stdout, drawn)
    return screen.offset
