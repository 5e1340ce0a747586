"""Write the log of a job as it arrives: its bytes, lines with times, or JSON."""

import asyncio
from typing import Any

from jobworker.client import LogChunk, Subscription
from jobworker.model import Job, to_builtins
from jobworker.protocol import STREAMS, encode_data, split_text
from jobworker_cli import output
from jobworker_cli.sinks import job_sinks


class Records:
    """Where the records of one log go, and how."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        raw: bool = False,
        times: bool = False,
        streams: tuple[str, ...] = STREAMS,
    ) -> None:
        self._json = as_json
        self._times = times
        self._streams = streams
        self._sinks = job_sinks(raw=raw)
        self._within_line = dict.fromkeys(STREAMS, False)

    async def begin(self, job: Job) -> None:
        """In JSON, the first line is the job."""
        if self._json:
            output.emit_json({"job": to_builtins(job)})

    async def follow(self, subscription: Subscription) -> None:
        """Write all chunks until the end."""
        async for chunk in subscription:
            if chunk.stream in self._streams:
                await self._take(chunk)
        for sink in self._sinks.values():
            sink.finish()
        if self._json:
            end = to_builtins(subscription.end)
            output.emit_json({name: value for name, value in end.items() if name != "subscription"})

    async def _take(self, chunk: LogChunk) -> None:
        if self._json:
            await asyncio.to_thread(output.emit_json, _wire(chunk))
            return
        data = self._with_times(chunk) if self._times else chunk.data
        await self._sinks[chunk.stream].write(data)

    def _with_times(self, chunk: LogChunk) -> bytes:
        """Put the time before each line that begins in this chunk."""
        stamp = chunk.time.encode() + b" "
        lines = chunk.data.splitlines(keepends=True) if b"\n" in chunk.data else [chunk.data]
        told = [
            line if index == 0 and self._within_line[chunk.stream] else stamp + line
            for index, line in enumerate(lines)
        ]
        self._within_line[chunk.stream] = not chunk.data.endswith(b"\n")
        return b"".join(told)


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
