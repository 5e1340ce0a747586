"""Subscriptions of the blocking client: iterators that continue after a lost connection."""

from collections.abc import Iterator
from typing import Any

from jobworker.client.blocking.connection import Connection, Inbox
from jobworker.client.job_events import EventFollower
from jobworker.client.logs import LogChunk, LogFollower
from jobworker.model import Job, JobEvent


class Subscription(LogFollower):
    """Iterate over it for the chunks from `offset` on; afterwards `end` has how the job ended.

    `gaps` are the ranges passed so far that the log does not hold.
    """

    def __init__(self, connection: Connection, job: Job, options: dict[str, Any]) -> None:
        super().__init__(job, options, connection.report)
        # Filled by the connection until this subscription is dropped.
        self.inbox = Inbox("log.unsubscribe")
        self._connection = connection

    def subscribe(self, **start: Any) -> None:
        """Call log.subscribe; `start` is where to begin (offset, tail, since)."""
        answer = self._connection.call("log.subscribe", **self.params(**start))
        self.offset = answer["offset"]
        self._connection.route(answer["subscription"], self.inbox)

    def __iter__(self) -> Iterator[LogChunk]:
        try:
            while self.end is None:
                chunk = self.take(*self._connection.next(self.inbox, self._resume))
                if chunk is not None:
                    yield chunk
        finally:  # also if the consumer breaks out of its loop
            self._connection.drop(self.inbox)

    def _resume(self) -> None:
        self.subscribe(offset=self.offset)


class Events(EventFollower):
    """Iterate over it for the events of jobs after `revision`, which advances with each event.

    `gaps` are the ranges of revisions passed so far whose events the agent no longer keeps.
    """

    def __init__(self, connection: Connection, revision: int | None) -> None:
        super().__init__(revision, connection.report)
        self.inbox = Inbox("event.unsubscribe")
        self._connection = connection

    def subscribe(self) -> None:
        """Call event.subscribe after the last revision that was seen; without one, from now on."""
        answer = self._connection.call("event.subscribe", **self.params())
        self.revision = answer["revision"]
        self._connection.route(answer["subscription"], self.inbox)

    def __iter__(self) -> Iterator[JobEvent]:
        try:
            while True:
                event = self.take(*self._connection.next(self.inbox, self.subscribe))
                if event is not None:
                    yield event
        finally:  # also if the consumer breaks out of its loop
            self._connection.drop(self.inbox)
