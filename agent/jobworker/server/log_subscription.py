"""A subscription to a log: send the chunks of a cursor to one connection, at the speed of that connection."""

import asyncio
from collections.abc import Callable

from jobworker.jobs.log_cursor import CachedChunk, Cursor
from jobworker.jobs.scope import Scope, sees
from jobworker.logs.reader import Chunk, Gap
from jobworker.model import JobSummary, LogEnd, LogGap
from jobworker.protocol import split_text
from jobworker.server import log_frames
from jobworker.server.subscription import Send, Subscription

HALF_CHARACTER_SECONDS = 0.05  # how long a part of a character waits for the rest
AUTO, BASE64, BINARY = "auto", "base64", "binary"
Encoded = tuple[int, tuple[bytes, ...]]  # how many bytes of a chunk, and its frame in parts, after the prefix


class LogSubscription(Subscription):
    """Ends with `log.end`. `encoding` is `auto`, `base64` or `binary`: raw bytes in binary frames."""

    def __init__(
        self,
        name: str,
        send: Send,
        done: Callable[[], None],
        *,
        job: str,
        cursor: Cursor,
        encoding: str,
        scopes: tuple[Scope, ...],
    ) -> None:
        super().__init__(name, send, done)
        self.job = job
        self._cursor = cursor
        self._scopes = scopes
        self._encoding = encoding
        self._prefix = log_frames.frame_prefix(name, binary=encoding == BINARY)

    def _close(self) -> None:
        self._cursor.close()

    def lag(self) -> int:
        return self._cursor.lag

    def hides(self, job: JobSummary) -> bool:
        return job.id == self.job and not sees(self._scopes, job)

    async def _run(self) -> None:
        while (piece := await self._cursor.next()) is not None:
            if isinstance(piece, Gap):
                await self._send_gap(piece)
            else:
                await self._send_data(piece)
            await asyncio.sleep(0)  # a send that does not block does not yield: let other tasks run
        job = await self._cursor.job_at_end()
        end = LogEnd(self.name, self.job, self._cursor.offset, job.state, job.exit, job.log.truncated)
        await self._send((log_frames.notification("log.end", end),), True)

    async def _send_data(self, piece: CachedChunk) -> None:
        # Subscriptions that read the same part of a log share its encoded form.
        encoded: Encoded | None = piece.encoded.get(self._encoding)
        if encoded is None:
            encoded = self._encoded(piece.chunk)
            if encoded is None:
                encoded = await self._complete_character(piece.chunk)
            else:
                piece.encoded[self._encoding] = encoded
        used, rest = encoded
        self._cursor.offset = piece.chunk.offset + used
        await self._send((self._prefix, *rest), self._encoding != BINARY)

    def _encoded(self, chunk: Chunk) -> Encoded | None:
        """Encode a chunk up to its last whole character; return None if it holds only a part of one."""
        if self._encoding == BINARY:
            return len(chunk.data), log_frames.binary_rest(self.job, chunk)
        if self._encoding == BASE64:
            return len(chunk.data), log_frames.text_rest(self.job, chunk, None)
        text, used = split_text(chunk.data)
        return (used, log_frames.text_rest(self.job, chunk, text)) if used else None

    async def _complete_character(self, chunk: Chunk) -> Encoded:
        """Wait a moment for the rest of a character, unless bytes of the other stream follow; else send base64."""
        if not self._cursor.ended and not self._cursor.more_follows(chunk):
            more = await self._cursor.grown(HALF_CHARACTER_SECONDS)
            chunk = more if isinstance(more, Chunk) else chunk
        return self._encoded(chunk) or (len(chunk.data), log_frames.text_rest(self.job, chunk, None))

    async def _send_gap(self, gap: Gap) -> None:
        self._cursor.offset = gap.end
        params = LogGap(self.name, self.job, gap.offset, gap.end, gap.reason)
        await self._send((log_frames.notification("log.gap", params),), True)
