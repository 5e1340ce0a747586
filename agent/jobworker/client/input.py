"""Write the input of a job: each byte once and in order, also over lost connections."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Any

from jobworker.client.connection import Connection
from jobworker.client.pieces import RETRIED, RETRY_SECONDS, WINDOW, Piece, must_give_up, pieces_of, require_alone
from jobworker.errors import ConnectionFailed


class JobInput:
    """The input of one job, for one writer; on leaving ``async with`` without an error, it is closed.

    `offset` is the position of the next byte in the whole input. All methods raise StdinClosed when the job takes no
    more of it, and ConnectionFailed when a lost connection could not be replaced.
    """

    def __init__(self, connection: Connection, job: str, offset: int) -> None:
        self.job = job
        self.offset = offset
        self._connection = connection
        self.lease: int | None = None  # of the claim by which it is written
        self._more: dict[str, Any] = {}  # params of each stdin.write besides those of its piece
        # Sent and not known to be accepted, oldest first.
        self._sent: deque[tuple[Piece, asyncio.Task[Any]]] = deque()

    async def __aenter__(self) -> "JobInput":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:
            self._forget()

    async def close_on_disconnect(self) -> None:
        """Have the agent end the input when this connection is lost, before anything is written."""
        self._more = {"close_on_disconnect": True}
        await self._call(Piece(b"", self.offset))

    async def write(self, data: bytes) -> None:
        """Send data; wait while the job does not read. It is accepted for certain after `flush` or `close`."""
        for piece in pieces_of(data, self.offset):
            while len(self._sent) >= WINDOW:
                await self._settle()
            self._sent.append((piece, asyncio.create_task(self._call(piece))))
            self.offset += len(piece.data)

    async def flush(self) -> None:
        """Return when all that was written has been accepted: it reaches the job, whatever dies now."""
        while self._sent:
            await self._settle()

    async def close(self) -> None:
        """End the input after its last byte."""
        await self.flush()
        while True:
            try:
                await self._connection.call("stdin.close", id=self.job, offset=self.offset, **self._lease())
                return
            except ConnectionFailed:
                await self._connection.reconnect()

    async def _call(self, piece: Piece) -> Any:
        params = {"id": self.job, "offset": piece.offset} | self._lease() | self._more
        return await self._connection.send("stdin.write", piece.data, **params)

    def _lease(self) -> dict[str, int]:
        return {} if self.lease is None else {"lease": self.lease}

    async def _settle(self) -> None:
        """Wait until the oldest piece is accepted; if the agent may not have it, send all again, one by one."""
        _, task = self._sent[0]
        try:
            answer = await task
        except RETRIED:
            await asyncio.gather(*(task for _, task in self._sent), return_exceptions=True)
            while self._sent:
                await self._send_again(self._sent[0][0])
                self._sent.popleft()
            return
        require_alone(self.job, answer, self.offset)
        self._sent.popleft()

    async def _send_again(self, piece: Piece) -> None:
        while True:
            try:
                require_alone(self.job, await self._call(piece), self.offset)
                return
            except ConnectionFailed:
                await self._connection.reconnect()
            except RETRIED as error:
                if must_give_up(error, piece):
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    def _forget(self) -> None:
        for _, task in self._sent:
            task.cancel()
        self._sent.clear()
