"""The client's end of an event subscription: an iterator that continues after a lost connection."""

from collections.abc import AsyncIterator

import msgspec

from jobworker.client.connection import Connection
from jobworker.client.inbox import Inbox
from jobworker.model import EventGap, JobEvent


class Events:
    """Iterate over it for the events of jobs after `revision`, which advances with each event.

    `gaps` are the ranges of revisions passed so far whose events the agent no longer keeps.
    """

    def __init__(self, connection: Connection, revision: int | None) -> None:
        self.revision = revision
        self.gaps: list[EventGap] = []
        self.inbox = Inbox()
        self._connection = connection

    async def subscribe(self) -> None:
        """Call event.subscribe after the last revision that was seen; without one, from now on."""
        after = {} if self.revision is None else {"from": self.revision}
        answer = await self._connection.call("event.subscribe", **after)
        self.revision = answer["revision"]
        self._connection.route(answer["subscription"], self.inbox)

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        try:
            while True:
                method, params = await self._connection.next(self.inbox, self.subscribe)
                if method == "event.gap":
                    self.gaps.append(gap := msgspec.convert(params, EventGap))
                    self.revision = gap.to
                    self._connection.report(
                        f"the events of the revisions {gap.from_ + 1} to {gap.to} are no longer kept"
                    )
                elif method == "job.event":
                    event = msgspec.convert(params, JobEvent)
                    self.revision = event.revision
                    yield event
        finally:  # also if the consumer breaks out of its loop
            self._connection.drop(self.inbox)
