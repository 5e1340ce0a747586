"""The client's end of a subscription to events: an iterator that goes on after a lost connection."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from jobworker.client.feed import Feed
from jobworker.model import EventGap, JobEvent

if TYPE_CHECKING:
    from jobworker.client.client import Client


class Events(Feed):
    """Iterate over it for what happens to jobs after `revision`, which moves on with each event.

    `gaps` are the ranges of revisions passed so far whose events the agent no longer keeps.
    """

    def __init__(self, client: "Client", revision: int | None) -> None:
        super().__init__(client)
        self.revision = revision
        self.gaps: list[EventGap] = []

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        try:
            while True:
                method, params = await self._next()
                if method == "event.gap":
                    self.gaps.append(gap := msgspec.convert(params, EventGap))
                    self.revision = gap.to
                    self._client.say(f"the events of the revisions {gap.from_ + 1} to {gap.to} are no longer kept")
                elif method == "job.event":
                    event = msgspec.convert(params, JobEvent)
                    self.revision = event.revision
                    yield event
        finally:  # also for one who breaks out of the loop
            self._client.detach(self)

    async def _subscribe(self) -> None:
        await self._client.attach_events(self)
