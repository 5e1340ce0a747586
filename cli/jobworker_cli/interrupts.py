"""Signals in a `jw run` with asyncio: as `presses` for one without, see there."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from jobworker.client import Client
from jobworker.errors import ConnectionFailed, InvalidState, JobworkerError
from jobworker_cli import failures, output
from jobworker_cli.presses import NOTE_SECONDS, NOTES, STOPS


class Interrupts:
    """Handles signals from its construction on; a stop is sent as soon as the job is known."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Client and job id, once they are known; a stop waits for them.
        self._running: asyncio.Future[tuple[Client, str]] = self._loop.create_future()
        self._left = asyncio.Event()
        self._count = 0  # of Ctrl-C so far
        # Held here, since a loop keeps only weak references to its tasks.
        self._notes: set[asyncio.Task[None]] = set()
        self._stops: set[asyncio.Task[None]] = set()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup, or in the background of a script: keep it ignored
            self._loop.add_signal_handler(number, self._pressed if number == signal.SIGINT else self.leave)

    def started(self, client: Client, job: str) -> None:
        """Set the job to stop."""
        if not self._running.done():
            self._running.set_result((client, job))

    def over(self) -> None:
        """Cancel pending stops: the job has ended, or no agent can be reached."""
        for task in self._stops:
            task.cancel()

    def leave(self) -> None:
        """Leave the job running."""
        self._left.set()

    async def leaving(self) -> None:
        """Return when the job is to be left running."""
        await self._left.wait()

    async def note_how_to_come_back(self) -> None:
        """Note that the job runs on and how to follow it; do not wait long for a reader."""
        if self._running.done():
            job = self._running.result()[1]
            words = (f"job {job} is left running", f"jw logs -f {job}")
        else:
            words = ("left before the agent confirmed that the job started", "jw ps")
        _spawn(self._notes, self._note(*words))
        await asyncio.wait(self._notes, timeout=NOTE_SECONDS)

    def _pressed(self) -> None:
        self._count += 1
        if self._count > len(STOPS):
            self.leave()
            return
        _spawn(self._notes, self._note(NOTES[self._count - 1]))
        _spawn(self._stops, self._stop(STOPS[self._count - 1]))

    async def _note(self, text: str, hint: str = "") -> None:
        await asyncio.to_thread(output.note, text)  # in a thread: a full pipe must not block the next Ctrl-C
        if hint:
            await asyncio.to_thread(output.hint, hint)

    async def _stop(self, stop: dict[str, Any]) -> None:
        client, job = await self._running
        try:
            while True:
                try:
                    await client.call("job.stop", id=job, **stop)
                    return
                except ConnectionFailed:
                    await client.reconnect()
        except InvalidState:
            pass  # it has already ended
        except JobworkerError as error:
            await asyncio.to_thread(failures.report, error)


def _spawn(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
