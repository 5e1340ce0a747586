"""The client's end of a subscription: an iterator over a log that goes on after a lost connection."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from jobworker.errors import ConnectionFailed
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


class Subscription:
    """Iterate over it for the chunks from `offset` on; afterwards `end` says how the job ended.

    `gaps` are the ranges passed so far that the log does not hold.
    """

    def __init__(self, client: "Client", job: Job, offset: int, follow: bool) -> None:
        self.job = job
        self.offset = offset
        self.end: LogEnd | None = None
        self.gaps: list[LogGap] = []
        self._client = client
        self._follow = follow
        self._news: deque[dict[str, Any] | None] = deque()
        self._arrived = asyncio.Event()

    # Called by the client, which reads the connection

    @property
    def backlog(self) -> int:
        return len(self._news)

    def feed(self, method: str, params: dict[str, Any]) -> None:
        self._news.append({"method": method, "params": params})
        self._arrived.set()

    def cut(self) -> None:
        """The connection is lost; what arrived before is still good."""
        self._news.append(None)
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[LogChunk]:
        while self.end is None:
            while not self._news:
                self._arrived.clear()
                await self._arrived.wait()
            news = self._news.popleft()
            self._client.consumed()
            if news is None:
                await self._resume()
            elif news["method"] == "log.end":
                self.end = msgspec.convert(news["params"], LogEnd)
                self.offset = self.end.offset
            elif news["method"] == "log.gap":
                self.gaps.append(gap := msgspec.convert(news["params"], LogGap))
                self.offset = gap.to
                self._client.passed(gap)
            elif news["method"] == "log.data":
                chunk = msgspec.convert(news["params"], LogData)
                data = decode_data(chunk.data, chunk.encoding)
                self.offset = chunk.offset + len(data)
                yield LogChunk(chunk.offset, chunk.stream, chunk.time, data)

    async def _resume(self) -> None:
        """Subscribe again at the next byte, over a new connection; raise ConnectionFailed."""
        while True:
            await self._client.reconnect()
            try:
                await self._client.attach(self, self.job.id, self.offset, self._follow)
                return
            except ConnectionFailed:
                continue
