"""The log of a job with a terminal as a recording: what was shown when, and in which size."""

import codecs
import json
import shlex
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from jobworker.client import Client, LogChunk
from jobworker.model import Job, TtySpec
from jobworker.results import TerminalSize


class Event(NamedTuple):
    """Seconds after the start of the job; "o" with output, or "r" with the size, as asciicast names them."""

    seconds: float
    kind: str
    data: bytes


class Recording:
    """Puts output and sizes into one order, with times that never go back."""

    def __init__(self, job: Job, sizes: Sequence[TerminalSize]) -> None:
        self.job = job
        self._start = datetime.fromisoformat(job.started_at or job.created_at)
        self._last = 0.0  # seconds of the last event: a clock that was set back must not turn the recording around
        early = [size for size in sizes if not size.offset]
        self.rows, self.cols = early[-1].rows, early[-1].cols  # of the first output
        self._sizes = [size for size in sizes if size.offset]  # those that are still to come

    def take(self, chunk: LogChunk) -> Iterator[Event]:
        """Yield the events of one arrival."""
        data, offset = chunk.data, chunk.offset
        while self._sizes and self._sizes[0].offset < offset + len(data):
            length = max(0, self._sizes[0].offset - offset)
            if length:
                yield Event(self._seconds(chunk.time), "o", data[:length])
            yield self._resized()
            data, offset = data[length:], offset + length
        yield Event(self._seconds(chunk.time), "o", data)

    def rest(self) -> Iterator[Event]:
        """Yield the sizes after the last output."""
        while self._sizes:
            yield self._resized()

    def _resized(self) -> Event:
        size = self._sizes.pop(0)
        return Event(self._seconds(size.time), "r", f"{size.cols}x{size.rows}".encode())

    def _seconds(self, time: str | None) -> float:
        if time is not None:
            self._last = max(self._last, (datetime.fromisoformat(time) - self._start).total_seconds())
        return self._last

    def header(self) -> dict[str, Any]:
        """Return the first line of an asciicast."""
        spec = self.job.spec
        tty = spec.terminal() or TtySpec()
        header: dict[str, Any] = {"version": 2, "width": self.cols, "height": self.rows}
        header["timestamp"] = int(self._start.timestamp())
        header |= {"command": shlex.join(spec.command()), "env": {"TERM": spec.variables().get("TERM", tty.term)}}
        return header | ({"title": spec.name} if spec.name else {})


async def recorded(client: Client, job: str) -> tuple[Recording, AsyncIterator[Event]]:
    """Return the recording of a job, and its events up to the present end; raise InvalidState without a terminal."""
    sizes = (await client.sizes(job)).sizes
    subscription = await client.subscribe(job, follow=False, arrivals=True)
    recording = Recording(subscription.job, sizes)

    async def events() -> AsyncIterator[Event]:
        async for chunk in subscription:
            for event in recording.take(chunk):
                yield event
        for event in recording.rest():
            yield event

    return recording, events()


async def cast(client: Client, job: str) -> AsyncIterator[str]:
    """Yield the lines of an asciicast, version 2."""
    recording, events = await recorded(client, job)
    yield json.dumps(recording.header())
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # an arrival may end within a character
    async for event in events:
        text = decoder.decode(event.data) if event.kind == "o" else event.data.decode()
        if text:
            yield json.dumps([round(event.seconds, 6), event.kind, text])
