"""Write the log of a job as it arrives: as bytes, lines with times, or JSON."""

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobworker.client import LogChunk, Subscription
from jobworker.model import Job, to_builtins
from jobworker.protocol import STREAMS, encode_data, split_text
from jobworker_cli.output import write
from jobworker_cli.output.sanitise import RESET
from jobworker_cli.output.sinks import job_sinks

if TYPE_CHECKING:
    from jobworker_cli.grep import LineFilter

MAX_LINE_BYTES = 65536  # of a line that may wait for its end, if each line has the prefix of its job
LINE_END, RETURN = b"\n", b"\r"
_PART = re.compile(rb"[^\r\n]*(?:\n|\r)|[^\r\n]+")  # of a line: up to its end, or to the CR at which it begins again


class Records:
    """Writes one log to stdout and stderr, each line after `prefix` if there is one."""

    def __init__(
        self, *, as_json: bool = False, raw: bool = False, times: bool = False, lines: "LineFilter | None" = None
    ) -> None:
        """`lines` picks the lines to write; None: all bytes are written as they come."""
        self.prefix = b""
        # Called with the size of each chunk that came.
        self.passed: Callable[[int], None] = lambda count: None
        self._lines = lines
        self._json = as_json
        self._times = times
        self._sinks = job_sinks(raw=raw)
        # By stream: the last byte that was written.
        self._before = dict.fromkeys(STREAMS, LINE_END)
        # By stream: an unfinished line that waits for its end.
        self._held = dict.fromkeys(STREAMS, b"")

    async def begin(self, job: Job) -> None:
        """With JSON, write the job as the first line."""
        if self._json:
            write.emit_json({"job": to_builtins(job)})

    async def follow(self, subscription: Subscription) -> None:
        """Write all chunks until the end."""
        job = subscription.job.id
        async for chunk in subscription:
            self.passed(len(chunk.data))
            for each in [chunk] if self._lines is None else self._lines.feed(chunk):
                await self.write(job, each)
        for each in () if self._lines is None else self._lines.finish():
            await self.write(job, each)
        await self.finish()
        if self._json:
            end = to_builtins(subscription.end)
            write.emit_json({name: value for name, value in end.items() if name != "subscription"})

    async def finish(self) -> None:
        """Write what was held back."""
        for stream, sink in self._sinks.items():
            if self._held[stream]:
                await sink.write(self._held[stream] + b"\n")
            sink.finish()

    async def write(self, job: str, chunk: LogChunk) -> None:
        """Write one chunk."""
        if self._json:
            await asyncio.to_thread(write.emit_json, {"job": job} | _wire(chunk))
            return
        data = self._marked(chunk) if self._times or self.prefix else chunk.data
        await self._sinks[chunk.stream].write(self._whole_lines(chunk.stream, data) if self.prefix else data)

    def _marked(self, chunk: LogChunk) -> bytes:
        """Put prefix and time before each line that begins in this chunk, and once more after each bare CR.

        A CR goes back to the begin of the line: what follows would overwrite them.
        """
        mark = self.prefix + (chunk.time.encode() + b" " if self._times else b"")
        if self._sinks[chunk.stream].sanitises:
            mark = RESET + mark  # the colours of a job are for its own text
        before = self._before[chunk.stream]
        marked = []
        for part in _PART.findall(chunk.data):
            text = part.strip(b"\r\n")
            if before == LINE_END or (before == RETURN and text):
                marked.append(mark)
            marked.append(part)
            before = part[-1:]
        self._before[chunk.stream] = before
        return b"".join(marked)

    def _whole_lines(self, stream: str, data: bytes) -> bytes:
        """Hold back an unfinished line, since another job may write meanwhile."""
        data = self._held[stream] + data
        at = data.rfind(b"\n") + 1
        whole, self._held[stream] = data[:at], data[at:]
        if len(self._held[stream]) > MAX_LINE_BYTES:
            whole, self._held[stream] = data + b"\n", b""
            self._before[stream] = LINE_END
        return whole


def _wire(chunk: LogChunk) -> dict[str, Any]:
    text, used = split_text(chunk.data)
    data, encoding = encode_data(chunk.data, text if used == len(chunk.data) else None)
    return {
        "offset": chunk.offset,
        "stream": chunk.stream,
        "time": chunk.time,
        "data": data,
        "encoding": encoding,
    }
