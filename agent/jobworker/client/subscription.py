"""The client's end of a log subscription: an iterator that continues after a lost connection."""

from collections.abc import AsyncIterator
from typing import Any

from jobworker.client.connection import Connection
from jobworker.client.inbox import Inbox
from jobworker.client.logs import LogChunk, LogFollower
from jobworker.model import Job


class Subscription(LogFollower):
    """Iterate over it for the chunks from `offset` on; afterwards `end` has how the job ended.

    `gaps` are the ranges passed so far that the log does not hold.
    """

    def __init__(self, connection: Connection, job: Job, options: dict[str, Any]) -> None:
        super().__init__(job, options, connection.report)
        # Filled by the connection until this subscription is dropped.
        self.inbox = Inbox()
        self._connection = connection

    async def subscribe(self, **start: Any) -> None:
        """Call log.subscribe; `start` is where to begin (offset, tail, since)."""
        answer = await self._connection.call("log.subscribe", **self.params(**start))
        self.offset = answer["offset"]
        self._connection.route(answer["subscription"], self.inbox)

    async def __aiter__(self) -> AsyncIterator[LogChunk]:
        try:
            while self.end is None:
                chunk = self.take(*await self._connection.next(self.inbox, self._resume))
                if chunk is not None:
                    yield chunk
        finally:  # also if the consumer breaks out of its loop
            self._connection.drop(self.inbox)

    async def _resume(self) -> None:
        await self.subscribe(offset=self.offset)
