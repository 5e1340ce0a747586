"""A subscription to a log: a cursor whose chunks go to one connection, at that connection's speed."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from jobworker.jobs.cursor import Cursor
from jobworker.model import Exit, LogData, LogEnd, LogGap, rfc3339
from jobworker.protocol import STREAMS, encode_data, split_text
from jobworker.runtime.logs import Chunk, Gap
from jobworker.server.subscription import Subscription

HELD = 0.05  # seconds that half a character may wait for its other half


class Notification(msgspec.Struct, frozen=True):
    """What goes out: JSON-RPC 2.0 without an id."""

    method: str
    params: LogData | LogGap | LogEnd
    jsonrpc: str = "2.0"


class LogSubscription(Subscription):
    """Ends with `log.end`."""

    def __init__(
        self,
        name: str,
        send: Callable[[bytes], Awaitable[None]],
        done: Callable[[], None],
        *,
        job: str,
        cursor: Cursor,
        encoding: str,
    ) -> None:
        super().__init__(name, send, done)
        self._job = job
        self._cursor = cursor
        self._base64 = encoding == "base64"

    def _close(self) -> None:
        self._cursor.close()

    async def _run(self) -> None:
        while (chunk := await self._cursor.next()) is not None:
            if isinstance(chunk, Gap):
                await self._skip(chunk)
            else:
                await self._deliver(chunk)
            await asyncio.sleep(0)  # a send that never blocks never yields: others have their turn
        job = await self._cursor.job_at_end()
        exit_: Exit | None = job.exit
        end = LogEnd(self.name, self._job, self._cursor.offset, job.state, exit_)
        await self._notify("log.end", end)

    async def _deliver(self, chunk: Chunk) -> None:
        text, used = (None, len(chunk.data)) if self._base64 else split_text(chunk.data)
        if not used:  # nothing but half a character
            text, used, chunk = await self._other_half(chunk)
        data, encoding = encode_data(chunk.data[:used], text)
        self._cursor.offset += used
        params = LogData(
            self.name, self._job, chunk.offset, STREAMS[chunk.stream], rfc3339(chunk.time), data, encoding
        )
        await self._notify("log.data", params)

    async def _skip(self, gap: Gap) -> None:
        self._cursor.offset = gap.end
        await self._notify("log.gap", LogGap(self.name, self._job, gap.offset, gap.end, gap.reason))

    async def _other_half(self, chunk: Chunk) -> tuple[str | None, int, Chunk]:
        """Wait a moment for the rest of a character, but not past bytes of the other stream."""
        if not self._cursor.ended and not self._cursor.more_follows(chunk):
            await self._cursor.grown(HELD)
            more = self._cursor.peek()
            chunk = more if isinstance(more, Chunk) else chunk
        text, used = split_text(chunk.data)
        return (text, used, chunk) if used else (None, len(chunk.data), chunk)

    async def _notify(self, method: str, params: LogData | LogGap | LogEnd) -> None:
        await self._send(msgspec.json.encode(Notification(method, params)))
