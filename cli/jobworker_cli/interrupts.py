"""Ctrl-C in `jw run`: once stops the job, twice kills it, three times leaves it; other signals leave at once."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from jobworker.client import Client
from jobworker.errors import ConnectionFailed, InvalidState, JobworkerError
from jobworker.model import StopSpec
from jobworker_cli import failures, output

NOTE_SECONDS = 0.5  # seconds for which the last words may wait for a reader
NOTES = (
    "stopping the job; Ctrl-C again kills it, a third time leaves it running",
    "killing the job; Ctrl-C again leaves it running",
)
STOPS = (None, StopSpec(strategy="kill"))


class Interrupts:
    """Listens from its making on; what came before the job is known is done as soon as it is."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: asyncio.Future[tuple[Client, str]] = self._loop.create_future()
        self._left = asyncio.Event()
        self._count = 0
        self._notes: set[asyncio.Task[None]] = set()
        self._stops: set[asyncio.Task[None]] = set()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup, or in the background of a script: so it stays
            self._loop.add_signal_handler(number, self._pressed if number == signal.SIGINT else self.leave)

    def started(self, client: Client, job: str) -> None:
        """Tell which job it is about."""
        if not self._running.done():
            self._running.set_result((client, job))

    def over(self) -> None:
        """Give up what is under way: the job has ended, or there is no agent to ask."""
        for task in self._stops:
            task.cancel()

    def leave(self) -> None:
        """Leave the job to itself."""
        self._left.set()

    async def leaving(self) -> None:
        """Return when the job is to be left to itself."""
        await self._left.wait()

    async def note_how_to_come_back(self) -> None:
        """Say that the job runs on; do not wait for long where nobody reads that."""
        if self._running.done():
            job = self._running.result()[1]
            words = (f"job {job} is left running", f"jw logs -f {job}")
        else:
            words = ("left before the agent has said whether the job started", "jw ps")
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
        await asyncio.to_thread(output.note, text)  # a full pipe must not keep the next Ctrl-C from being heard
        if hint:
            await asyncio.to_thread(output.hint, hint)

    async def _stop(self, stop: StopSpec | None) -> None:
        client, job = await self._running
        try:
            while True:
                try:
                    await client.stop(job, stop)
                    return
                except ConnectionFailed:
                    await client.reconnect()
        except InvalidState:
            pass  # it has ended meanwhile
        except JobworkerError as error:
            await asyncio.to_thread(failures.report, error)


def _spawn(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
