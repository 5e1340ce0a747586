"""The client's end of an event subscription: an iterator that continues after a lost connection."""

from collections.abc import AsyncIterator

from jobworker.client.connection import Connection
from jobworker.client.inbox import Inbox
from jobworker.client.job_events import EventFollower
from jobworker.model import JobEvent


class Events(EventFollower):
    """Iterate over it for the events of jobs after `revision`, which advances with each event.

    `gaps` are the ranges of revisions passed so far whose events the agent no longer keeps.
    """

    def __init__(self, connection: Connection, revision: int | None) -> None:
        super().__init__(revision, connection.report)
        self.inbox = Inbox()
        self._connection = connection

    async def subscribe(self) -> None:
        """Call event.subscribe after the last revision that was seen; without one, from now on."""
        answer = await self._connection.call("event.subscribe", **self.params())
        self.revision = answer["revision"]
        self._connection.route(answer["subscription"], self.inbox)

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        try:
            while True:
                event = self.take(*await self._connection.next(self.inbox, self.subscribe))
                if event is not None:
                    yield event
        finally:  # also if the consumer breaks out of its loop
            self._connection.drop(self.inbox)
