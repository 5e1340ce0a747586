"""A subscription to a log: a cursor whose chunks go to one connection, at that connection's speed."""

import asyncio
from collections.abc import Callable

from jobworker.jobs.log_cursor import Cursor, Piece
from jobworker.logs.reader import Chunk, Gap
from jobworker.model import LogEnd, LogGap
from jobworker.protocol import split_text
from jobworker.server import log_frames
from jobworker.server.subscription import Send, Subscription

HALF_CHARACTER_SECONDS = 0.05  # seconds that half a character may wait for its other half
AUTO, BASE64, BINARY = "auto", "base64", "binary"
Form = tuple[int, tuple[bytes, ...]]  # how many bytes of the chunk, and the parts of the frame after its prefix


class LogSubscription(Subscription):
    """Ends with `log.end`. `encoding` is `auto`, `base64` or, for raw bytes in binary frames, `binary`."""

    def __init__(
        self,
        name: str,
        send: Send,
        done: Callable[[], None],
        *,
        job: str,
        cursor: Cursor,
        encoding: str,
    ) -> None:
        super().__init__(name, send, done)
        self._job = job
        self._cursor = cursor
        self._encoding = encoding
        self._prefix = log_frames.frame_prefix(name, binary=encoding == BINARY)

    def _close(self) -> None:
        self._cursor.close()

    async def _run(self) -> None:
        while (found := await self._cursor.next()) is not None:
            if isinstance(found, Gap):
                await self._skip(found)
            else:
                await self._deliver(found)
            await asyncio.sleep(0)  # a send that never blocks never yields: others have their turn
        job = await self._cursor.job_at_end()
        end = LogEnd(self.name, self._job, self._cursor.offset, job.state, job.exit)
        await self._send(log_frames.notification("log.end", end), True)

    async def _deliver(self, piece: Piece) -> None:
        form: Form | None = piece.forms.get(self._encoding)
        if form is None:
            form = self._form(piece.chunk)
            if form is None:  # nothing but half a character
                form = await self._other_half(piece.chunk)
            else:
                piece.forms[self._encoding] = form
        used, rest = form
        self._cursor.offset = piece.chunk.offset + used
        await self._send(b"".join((self._prefix, *rest)), self._encoding != BINARY)

    def _form(self, chunk: Chunk) -> Form | None:
        """Return the chunk as it is sent, as far as it can be; None for half a character."""
        if self._encoding == BINARY:
            return len(chunk.data), log_frames.binary_rest(self._job, chunk)
        if self._encoding == BASE64:
            return len(chunk.data), log_frames.text_rest(self._job, chunk, None)
        text, used = split_text(chunk.data)
        return (used, log_frames.text_rest(self._job, chunk, text)) if used else None

    async def _other_half(self, chunk: Chunk) -> Form:
        """Wait a moment for the rest of a character, but not past bytes of the other stream."""
        if not self._cursor.ended and not self._cursor.more_follows(chunk):
            more = await self._cursor.grown(HALF_CHARACTER_SECONDS)
            chunk = more if isinstance(more, Chunk) else chunk
        return self._form(chunk) or (len(chunk.data), log_frames.text_rest(self._job, chunk, None))

    async def _skip(self, gap: Gap) -> None:
        self._cursor.offset = gap.end
        told = LogGap(self.name, self._job, gap.offset, gap.end, gap.reason)
        await self._send(log_frames.notification("log.gap", told), True)
