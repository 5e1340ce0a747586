"""The client's end of a subscription: an iterator over a log that goes on after a lost connection."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from jobworker.client.feed import Feed
from jobworker.model import Job, LogData, LogEnd, LogGap
from jobworker.protocol import decode_data

if TYPE_CHECKING:
    from jobworker.client.client import Client


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes of one stream (`stdout`, `stderr`); `offset` is the position of the first in the whole log."""

    offset: int
    stream: str
    time: str
    data: bytes


class Subscription(Feed):
    """Iterate over it for the chunks from `offset` on; afterwards `end` says how the job ended.

    `gaps` are the ranges passed so far that the log does not hold.
    """

    def __init__(self, client: "Client", job: Job, offset: int, follow: bool) -> None:
        super().__init__(client)
        self.job = job
        self.offset = offset
        self.end: LogEnd | None = None
        self.gaps: list[LogGap] = []
        self._follow = follow

    async def __aiter__(self) -> AsyncIterator[LogChunk]:
        while self.end is None:
            method, params = await self._next()
            if method == "log.end":
                self.end = msgspec.convert(params, LogEnd)
                self.offset = self.end.offset
            elif method == "log.gap":
                self.gaps.append(gap := msgspec.convert(params, LogGap))
                self.offset = gap.to
                missing = gap.to - gap.from_
                self._client.say(f"{missing} bytes of the output of job {gap.job} are missing: {gap.reason}")
            elif method == "log.data":
                chunk = msgspec.convert(params, LogData)
                data = decode_data(chunk.data, chunk.encoding)
                self.offset = chunk.offset + len(data)
                yield LogChunk(chunk.offset, chunk.stream, chunk.time, data)

    async def _subscribe(self) -> None:
        await self._client.attach(self, self.job.id, self.offset, self._follow)
