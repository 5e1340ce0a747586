"""Signals in a `jw run` without asyncio: Ctrl-C once stops the job, twice kills it, three times leaves it.

A signal may come between any two steps, so that its handler only notes it: the stop is sent in the next wait.
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from jobworker.client import wire
from jobworker.client.blocking.channel import ChannelLost
from jobworker.client.blocking.connection import Connection
from jobworker.errors import InvalidState, RpcError
from jobworker_cli import failures, output

NOTE_SECONDS = 0.5  # how long the last note may wait for a reader
NOTES = (
    "stopping the job; Ctrl-C again kills it, a third time leaves it running",
    "killing the job; Ctrl-C again leaves it running",
)
STOPS: tuple[dict[str, Any], ...] = ({}, {"stop": {"strategy": "kill"}})  # params of job.stop


class Presses:
    """Handles signals from its construction on; a stop is sent as soon as the job is known."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # The job to stop, once it is known.
        self._job: str | None = None
        self._count = 0  # of Ctrl-C so far
        # Params of job.stop that are to be sent, or to be sent again.
        self._due: list[dict[str, Any]] = []
        # Answers to stops that were not looked at yet.
        self._answers: list[dict[str, Any]] = []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it, or a script for its background
                signal.signal(number, self._pressed if number == signal.SIGINT else self._left)

    def started(self, job: str) -> None:
        """Set the job to stop."""
        self._job = job

    def act(self) -> None:
        """Send the stops that were asked for, and report those that failed."""
        while self._answers:
            failed = wire.outcome(self._answers.pop(), "job.stop")
            if isinstance(failed, RpcError) and not isinstance(failed, InvalidState):  # that: it has already ended
                failures.report(failed)
        try:
            while self._due and self._job is not None:
                self._connection.post(self._take_answer(self._due[0]), "job.stop", id=self._job, **self._due[0])
                del self._due[0]
        except ChannelLost:
            pass  # sent over the next connection

    def leave(self) -> NoReturn:
        """Leave the job running: note how to come back, and do not wait long for a reader."""
        words = ("left before the agent confirmed that the job started", "jw ps")
        if self._job is not None:
            words = (f"job {self._job} is left running", f"jw logs -f {self._job}")
        _in_thread(_note, *words).join(NOTE_SECONDS)
        os._exit(failures.LEFT)

    def _pressed(self, *_: object) -> None:
        self._count += 1
        if self._count > len(STOPS):
            self.leave()
        self._due.append(STOPS[self._count - 1])
        _in_thread(output.note, NOTES[self._count - 1])

    def _left(self, *_: object) -> None:
        self.leave()

    def _take_answer(self, params: dict[str, Any]) -> Callable[[dict[str, Any] | None], None]:
        """Return what takes the answer to a stop; one that was lost is sent again."""

        def take(answer: dict[str, Any] | None) -> None:
            if answer is None:
                self._due.append(params)
            else:
                self._answers.append(answer)

        return take


def _note(text: str, hint: str) -> None:
    output.note(text)
    output.hint(hint)


def _in_thread(function: Callable[..., None], *words: str) -> threading.Thread:
    """Call it in a thread: a full pipe must not block the next Ctrl-C."""
    thread = threading.Thread(target=function, args=words, daemon=True)
    thread.start()
    return thread
