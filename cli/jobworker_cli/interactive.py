"""Our terminal as that of a job: keys go to the job, its output comes to us, and the sizes are the same."""

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial

from jobworker.client import Client, LogChunk, Subscription
from jobworker.errors import ConnectionFailed, JobworkerError, StdinClosed
from jobworker_cli.claim import Claim
from jobworker_cli.keys import INTERRUPT, DetachKeys
from jobworker_cli.output.queries import QueryFilter
from jobworker_cli.output.records import Records
from jobworker_cli.own_terminal import OwnTerminal, size
from jobworker_cli.send_input import read_stdin

MAX_TYPED = 65536  # bytes that wait for the agent, before more is read from the terminal


class TerminalRecords(Records):
    """Writes the output of a job, and keeps what it changes of our terminal.

    What the job asks of its terminal is not passed on before the offset `live`, nor to us as a viewer.
    """

    def __init__(self, terminal: OwnTerminal, live: int = 0, claim: Claim | None = None) -> None:
        super().__init__(raw=True)
        self._terminal = terminal
        self._live = live
        self._claim = claim
        self._filter = QueryFilter()

    async def write(self, job: str, chunk: LogChunk) -> None:
        if chunk.offset < self._live or self._claim is None or not self._claim.writes:
            data = self._filter.feed(chunk.data)
        else:
            data = self._filter.finish() + chunk.data
        self._terminal.modes.feed(data)
        await self._sinks[chunk.stream].write(data)


class Keyboard:
    """Sends what is typed. Typing goes on while the connection is lost: the keys that detach always work."""

    def __init__(self, claim: Claim, keys: bytes) -> None:
        self._claim = claim
        self._keys = DetachKeys(keys)
        self._typed = bytearray()  # what was not sent yet
        self._changed = asyncio.Event()

    async def run(self, detach: Callable[[], None]) -> None:
        """Return when the job takes no more; call `detach` when the keys for that were typed, or our end is gone."""
        sending = asyncio.create_task(self._send())
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
                detach()
            await sending
        finally:
            sending.cancel()
            reading.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)

    async def _read(self) -> None:
        """Return when the keys that detach were typed, or there will be no more keys."""
        while data := await read_stdin():
            passed, detached = self._keys.feed(data)
            if detached or (INTERRUPT in passed and not self._claim.writes):
                return
            if self._claim.writes:
                self._typed += passed
                self._changed.set()
            while len(self._typed) > MAX_TYPED:
                self._changed.clear()
                await self._changed.wait()

    async def _send(self) -> None:
        try:
            while True:
                while not self._typed:
                    self._changed.clear()
                    await self._changed.wait()
                data = bytes(self._typed)
                await self._claim.write(data)
                del self._typed[: len(data)]
                self._changed.set()
        except StdinClosed:
            pass  # the job has ended, or its terminal has


async def keep_size(client: Client, claim: Claim, known: tuple[int, int] | None) -> None:
    """Give the job's terminal our size, now and whenever ours changes; `known` is what it has.

    If that is not known, it is changed twice, so that the job draws its screen again.
    """
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            while (now := size()) != known:
                try:
                    if known is None:
                        await claim.resize(now[0], now[1] % 65535 + 1)
                    await claim.resize(*now)
                    known = now
                except ConnectionFailed:
                    await client.reconnect()
                except JobworkerError:
                    return  # the job has ended
            await changed.wait()
            changed.clear()
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


async def converse(
    client: Client,
    subscription: Subscription,
    records: Records,
    terminal: OwnTerminal,
    claim: Claim,
    detach: Callable[[], None],
    keys: bytes | None,
    known: tuple[int, int] | None,
) -> None:
    """Show the output until the job ends; with `keys`, those that detach, send what is typed."""
    following = asyncio.create_task(records.follow(subscription))
    others = [asyncio.create_task(keep_size(client, claim, known))]
    loop = asyncio.get_running_loop()
    try:
        if keys is not None:
            terminal.enter()
            loop.add_signal_handler(signal.SIGTSTP, partial(_suspend, terminal))
            others.append(asyncio.create_task(Keyboard(claim, keys).run(detach)))
        await _first_failure(following, others)
    finally:
        for each in (following, *others):
            each.cancel()
        await asyncio.gather(following, *others, return_exceptions=True)
        terminal.leave()
        loop.remove_signal_handler(signal.SIGTSTP)


async def _first_failure(following: "asyncio.Task[None]", others: list["asyncio.Task[None]"]) -> None:
    """Return when the output has ended; raise what ends one of the others before that."""
    waiting = {following, *others}
    while not following.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


def _suspend(terminal: OwnTerminal) -> None:
    """Stop, by a signal from outside, with the terminal as it was; go on as before."""
    terminal.leave()
    os.kill(os.getpid(), signal.SIGSTOP)
    terminal.enter()
