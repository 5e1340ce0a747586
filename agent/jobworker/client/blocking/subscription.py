# Made of ../subscription.py by docs/generate.py: change that file, and run it.
"""The client's end of a log subscription: an iterator that continues after a lost connection.

`../subscription.py` is the source of this file.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from jobworker.client import wire
from jobworker.client.blocking.connection import Connection
from jobworker.client.blocking.inbox import Inbox
from jobworker.client.logs import LogChunk, LogFollower
from jobworker.errors import JobworkerError
from jobworker.model import Job
from jobworker.results import Subscribed


class Subscription(LogFollower):
    """Iterate over it for the chunks from `offset` on; afterwards `end` has how the job ended.

    `gaps` are the ranges passed so far that the log does not hold. A loop that ends early ends the subscription;
    `close` ends one that is not iterated over.
    """

    def __init__(self, connection: Connection, job: Job, options: dict[str, Any]) -> None:
        super().__init__(job, options, connection.report)
        # Filled by the connection until this subscription is dropped.
        self.inbox = Inbox("log.unsubscribe")
        self._connection = connection

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the subscription, and return when the agent sends nothing more for it; a loop over it ends too."""
        self.inbox.close()
        for name in self._connection.unroute(self.inbox):
            with contextlib.suppress(JobworkerError):  # it is over: its job has ended, or the connection is lost
                self._connection.call(self.inbox.unsubscribe, subscription=name)

    def subscribe(self, **start: Any) -> None:
        """Call log.subscribe; `start` is where to begin (offset, tail, since)."""
        answer = self._connection.call("log.subscribe", **self.params(**start))
        subscribed = wire.typed(Subscribed, "log.subscribe", answer)
        self.offset = subscribed.offset
        self._connection.route(subscribed.subscription, self.inbox)

    def __iter__(self) -> Iterator[LogChunk]:
        try:
            while self.end is None:
                notification = self._connection.next(self.inbox, self._resume)
                if notification is None:
                    return
                with wire.reading("log.subscribe"):
                    chunk = self.take(*notification)
                if chunk is not None:
                    yield chunk
        finally:  # also if the consumer breaks out of its loop
            self._connection.drop(self.inbox)

    def _resume(self) -> None:
        self.subscribe(offset=self.offset)
