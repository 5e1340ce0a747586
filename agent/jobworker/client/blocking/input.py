"""Write the input of a job over the blocking client: each byte once and in order, also over lost connections."""

import time
from types import TracebackType
from typing import Any

from jobworker.client.blocking.connection import Connection
from jobworker.client.pieces import RETRIED, RETRY_SECONDS, Piece, must_give_up, pieces_of, require_alone
from jobworker.errors import ConnectionFailed


class JobInput:
    """The input of one job, for one writer; on leaving ``with`` without an error, it is closed.

    `offset` is the position of the next byte in the whole input. All methods raise StdinClosed when the job takes no
    more of it, and ConnectionFailed when a lost connection could not be replaced.
    """

    def __init__(self, connection: Connection, job: str, offset: int) -> None:
        self.job = job
        self.offset = offset
        self._connection = connection
        self.lease: int | None = None  # of the claim by which it is written

    def __enter__(self) -> "JobInput":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()

    def write(self, data: bytes) -> None:
        """Return when the data is accepted: it reaches the job whatever dies now. Waits while that does not read."""
        for piece in pieces_of(data, self.offset):
            self._send(piece)

    def close(self) -> None:
        """End the input after its last byte."""
        while True:
            try:
                self._connection.call("stdin.close", id=self.job, offset=self.offset, **self._lease())
                return
            except ConnectionFailed:
                self._connection.reconnect()

    def _lease(self) -> dict[str, Any]:
        return {} if self.lease is None else {"lease": self.lease}

    def _send(self, piece: Piece) -> None:
        end = piece.offset + len(piece.data)
        while True:
            try:
                params = {"id": self.job, "offset": piece.offset} | self._lease()
                answer = self._connection.send("stdin.write", piece.data, **params)
                require_alone(self.job, answer, end)
                self.offset = end
                return
            except ConnectionFailed:
                self._connection.reconnect()
            except RETRIED as error:
                if must_give_up(error, piece):
                    raise
                time.sleep(RETRY_SECONDS)
