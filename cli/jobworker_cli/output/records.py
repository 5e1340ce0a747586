"""Write the log of a job as it arrives: as bytes, lines with times, or JSON."""

import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO, cast

from jobworker.protocol import STREAMS, encode_data, split_text
from jobworker_cli.output import write
from jobworker_cli.output.sanitise import RESET
from jobworker_cli.output.sinks import job_sinks

if TYPE_CHECKING:
    from jobworker.client import LogChunk, Subscription
    from jobworker_cli.grep import LineFilter
    from jobworker_cli.plain_log import PlainLog


MAX_LINE_BYTES = 65536  # of a line that may wait for its end, if each line has the prefix of its job
Plain = dict[str, Any]
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

    async def follow(self, subscription: "Subscription") -> None:
        """Write all chunks until the end."""
        from jobworker.model import to_builtins

        job = subscription.job.id
        async for chunk in subscription:
            for each in self._chosen(chunk):
                await self.write(job, each)
        await self.finish(job)
        self.end(to_builtins(subscription.end))

    async def write(self, job: str, chunk: "LogChunk") -> None:
        """Write one chunk in a thread: a reader that has stopped must not block Ctrl-C."""
        from asyncio import to_thread

        await to_thread(write.put, *self._part(job, chunk))

    async def finish(self, job: str) -> None:
        """Write what was held back."""
        for line in () if self._lines is None else self._lines.finish():
            await self.write(job, line)
        self._finish()

    def show(self, log: "PlainLog") -> None:
        """Write all chunks until the end, without asyncio."""
        job = log.job["id"]
        for chunk in cast("Iterable[LogChunk]", log.chunks()):  # which has the same attributes
            for each in self._chosen(chunk):
                write.put(*self._part(job, each))
        self._finish()
        self.end(log.end or {})

    def begin(self, job: Plain) -> None:
        """With JSON, write the job as the first line."""
        if self._json:
            write.emit_json({"job": job})

    def end(self, end: Plain) -> None:
        """With JSON, write how the log ended as the last line."""
        if self._json:
            write.emit_json({name: value for name, value in end.items() if name != "subscription"})

    def _chosen(self, chunk: "LogChunk") -> "Iterable[LogChunk]":
        self.passed(len(chunk.data))
        return [chunk] if self._lines is None else self._lines.feed(chunk)

    def _part(self, job: str, chunk: "LogChunk") -> tuple[TextIO | None, bytes]:
        """Return what is written for a chunk, and to which file."""
        if self._json:
            return sys.stdout, write.line_of(write.json_text({"job": job} | _wire(chunk)))
        sink = self._sinks[chunk.stream]
        data = self._marked(chunk) if self._times or self.prefix else chunk.data
        return sink.file, sink.text(self._whole_lines(chunk.stream, data) if self.prefix else data)

    def _finish(self) -> None:
        for stream, sink in self._sinks.items():
            held = self._held[stream] + b"\n" if self._held[stream] else b""
            write.put(sink.file, sink.text(held) + sink.rest())

    def _marked(self, chunk: "LogChunk") -> bytes:
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


def _wire(chunk: "LogChunk") -> Plain:
    text, used = split_text(chunk.data)
    data, encoding = encode_data(chunk.data, text if used == len(chunk.data) else None)
    return {
        "offset": chunk.offset,
        "stream": chunk.stream,
        "time": chunk.time,
        "data": data,
        "encoding": encoding,
    }
