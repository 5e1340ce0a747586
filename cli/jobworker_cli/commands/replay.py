"""`jw replay`: play what the terminal of a job has shown, at the pace at which it did."""

import asyncio
import os
import signal
import sys
import termios
from typing import Annotated

from jobworker.units import seconds
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option, UsageError
from jobworker_cli.endpoint import Choice
from jobworker_cli.output.queries import QueryFilter
from jobworker_cli.own_terminal import STDIN, STDOUT, Modes, is_here, size
from jobworker_cli.recording import recorded
from jobworker_cli.resolve import job_id_async
from jobworker_cli.spec import duration

LONGEST_SLEEP = 3600.0  # seconds, for one call of sleep


@command
async def replay(
    ctx: Context,
    job: options.JobArgument,
    speed: Annotated[float, Option("-s", "--speed", metavar="N", help="N times as fast; 0: without pauses.")] = 1.0,
    idle: Annotated[
        str | None, Option("-i", "--idle", metavar="D", help="Shorten longer pauses to this time, as 2s.")
    ] = None,
) -> None:
    """Play what the terminal of a job has shown, from its start to now. Ctrl-C ends it."""
    if not 0 <= speed < float("inf"):
        raise UsageError(f"--speed {speed}: expected a number, 0 or more")
    if not is_here(reads=False):
        raise UsageError("replay needs a terminal; jw logs --cast JOB > FILE writes the recording to a file")
    pause = LONGEST_SLEEP if idle is None else seconds(duration(idle) or 0, "--idle")
    screen = _Screen()
    try:
        await _play(ctx.obj, job, speed, pause, screen)
    finally:
        screen.leave()


async def _play(choice: Choice, text: str, speed: float, pause: float, screen: "_Screen") -> None:
    async with choice.client() as client:
        recording, events = await recorded(client, await job_id_async(client, text))
        rows, cols = size()
        if rows < recording.rows or cols < recording.cols:
            recorded_size = f"{recording.rows} rows of {recording.cols} columns"
            output.note(f"the terminal of the job had {recorded_size}, this one has {rows} of {cols}")
        screen.enter()
        task = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if task is not None:
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        shown_at = 0.0  # seconds, of the event before
        async for event in events:
            if speed and event.seconds > shown_at:
                await asyncio.sleep(min((event.seconds - shown_at) / speed, pause))
            shown_at = event.seconds
            if event.kind == "o":
                await screen.write(event.data)


class _Screen:
    """Our terminal, which shows neither keys nor answers meanwhile, and is as before afterwards."""

    def __init__(self) -> None:
        self._fd = STDIN if os.isatty(STDIN) else STDOUT
        self._modes = Modes()
        self._filter = QueryFilter()
        self._before = termios.tcgetattr(self._fd)

    def enter(self) -> None:
        """Show what is written as it is; keys are not shown, and Ctrl-C is a signal as ever."""
        modes = termios.tcgetattr(self._fd)
        modes[1] &= ~termios.OPOST
        modes[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(self._fd, termios.TCSANOW, modes)

    async def write(self, data: bytes) -> None:
        """Write in a thread: a terminal that was stopped must not block Ctrl-C."""
        data = self._filter.feed(data)
        self._modes.feed(data)
        await asyncio.to_thread(output.put, sys.stdout, data)

    def leave(self) -> None:
        """Set the terminal back, and forget the keys that were typed."""
        try:
            output.put(sys.stdout, self._modes.undo())
            termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._before)
        except (output.ReaderGone, OSError, termios.error):
            pass  # it is gone: there is nothing to set back
