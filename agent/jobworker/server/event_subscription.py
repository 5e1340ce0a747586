"""A subscription to events of jobs: send what a cursor over the event table reads to one connection."""

import asyncio
from collections.abc import Callable

from jobworker.jobs.event_cursor import EventCursor
from jobworker.jobs.scope import Scope, sees
from jobworker.jobs.stored import decode_event
from jobworker.model import EventGap
from jobworker.server.log_frames import notification
from jobworker.server.subscription import Send, Subscription


class EventSubscription(Subscription):
    """Runs until it is stopped; sends only events of jobs that the caller may see."""

    kind = "event"

    def __init__(
        self,
        name: str,
        send: Send,
        done: Callable[[], None],
        *,
        cursor: EventCursor,
        scopes: tuple[Scope, ...],
        turn: asyncio.Lock,
    ) -> None:
        """`turn` is held while a page is read and sent: one at a time for each connection."""
        super().__init__(name, send, done)
        self._scopes = scopes
        self._cursor = cursor
        self._turn = turn
        self._prefix = b'{"jsonrpc":"2.0","method":"job.event","params":{"subscription":"%s",' % name.encode()

    async def _run(self) -> None:
        while True:
            await self._cursor.ready()
            async with self._turn:
                await self._send_page()
            await asyncio.sleep(0)  # a send that does not block does not yield: let other tasks run

    async def _send_page(self) -> None:
        before = self._cursor.revision
        page = await self._cursor.read()
        if page.gap is not None:
            gap = EventGap(self.name, before, page.gap)
            await self._send((notification("event.gap", gap),), True)
        for _, event in page.events:  # JSON as it is stored; never an empty object, so a comma fits before it
            if Scope() not in self._scopes and not sees(self._scopes, decode_event(event).job):
                continue
            await self._send((self._prefix, event.encode()[1:], b"}"), True)

    def lag(self) -> int:
        return self._cursor.lag

    def _close(self) -> None:
        self._cursor.close()
