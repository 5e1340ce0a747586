"""Follow the events of all jobs: a cursor over the table, so that a slow reader takes no memory."""

import asyncio

from jobworker.jobs.events import EventPage
from jobworker.jobs.store import Store


class EventCursor:
    """Reads the events after a revision, in order, once they are committed."""

    def __init__(self, store: Store, revision: int) -> None:
        self.revision = revision  # of the last event that was read
        self._store = store
        self._wakeup = asyncio.Event()
        store.events.waiters.add(self._wakeup)

    @property
    def lag(self) -> int:
        """How many revisions it is behind."""
        return max(0, self._store.events.last - self.revision)

    async def ready(self) -> None:
        """Return when there may be more to read."""
        while self._store.events.last <= self.revision:
            self._wakeup.clear()
            await self._wakeup.wait()

    async def read(self) -> EventPage:
        """Return the next page, which may be empty, and move on."""
        last = self._store.events.last
        page = await self._store.events_after(self.revision)
        if page.gap is not None:
            self.revision = page.gap
        else:
            self.revision = page.events[-1][0] if page.events else max(self.revision, last)
        return page

    async def next(self) -> EventPage:
        """Return the next page, with at least one event or a gap, and move on."""
        while True:
            await self.ready()
            page = await self.read()
            if page.events or page.gap is not None:
                return page

    def close(self) -> None:
        self._store.events.waiters.discard(self._wakeup)
