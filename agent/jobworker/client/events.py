"""The client's end of an event subscription: an iterator that continues after a lost connection.

`blocking/events.py` is made of this file by `docs/generate.py`.
"""

import contextlib
from collections.abc import AsyncIterator

from jobworker.client import wire
from jobworker.client.connection import Connection
from jobworker.client.inbox import Inbox
from jobworker.client.job_events import EventFollower
from jobworker.errors import JobworkerError
from jobworker.model import JobEvent
from jobworker.results import EventsSubscribed


class Events(EventFollower):
    """Iterate over it for the events of jobs after `revision`, which advances with each event.

    `gaps` are the ranges of revisions passed so far whose events the agent no longer keeps. A loop that ends ends
    the subscription; `close` ends one that is not iterated over.
    """

    def __init__(self, connection: Connection, revision: int | None) -> None:
        super().__init__(revision, connection.report)
        # Filled by the connection until this subscription is dropped.
        self.inbox = Inbox("event.unsubscribe")
        self._connection = connection

    async def __aenter__(self) -> "Events":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the subscription, and return when the agent sends nothing more for it; a loop over it ends too."""
        self.inbox.close()
        for name in self._connection.unroute(self.inbox):
            with contextlib.suppress(JobworkerError):  # it is over: its job has ended, or the connection is lost
                await self._connection.call(self.inbox.unsubscribe, subscription=name)

    async def subscribe(self) -> None:
        """Call event.subscribe after the last revision that was seen; without one, from now on."""
        answer = await self._connection.call("event.subscribe", **self.params())
        subscribed = wire.typed(EventsSubscribed, "event.subscribe", answer)
        self.revision = subscribed.revision
        self._connection.route(subscribed.subscription, self.inbox)

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        try:
            while True:
                notification = await self._connection.next(self.inbox, self.subscribe)
                if notification is None:
                    return
                with wire.reading("event.subscribe"):
                    event = self.take(*notification)
                if event is not None:
                    yield event
        finally:  # also if the consumer breaks out of its loop
            self._connection.drop(self.inbox)
