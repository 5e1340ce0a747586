"""Deliver the events of jobs to plugins: each plugin has a cursor of its own, and gets them at its own pace."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jobworker.errors import JobworkerError, OffsetOutOfRange
from jobworker.jobs.event_cursor import EventCursor
from jobworker.jobs.stored import decode_event
from jobworker.jobs.table import JobTable
from jobworker.model import JobEvent
from jobworker.plugin.host import PluginFault, PluginHost
from jobworker.plugin.loader import OBSERVER
from jobworker.tasks import Background

log = logging.getLogger(__name__)

MAX_FAULTS = 5  # in a row, after which an observer gets no more events
MAX_LATER_SECONDS = 3600.0  # that an observer may put an event off by one answer
LAST_REVISION = "heard:"  # in the meta table, before the name of a plugin: the last event that it got

Observe = Callable[[JobEvent], Any]


class Observers:
    """The observers of all plugins. The last event that each got is stored: the next agent goes on from there."""

    def __init__(
        self, observers: Mapping[str, Observe], host: PluginHost, table: JobTable, tasks: Background
    ) -> None:
        self._observers = observers
        self._host = host
        self._table = table
        self._tasks = tasks
        self.dropped: set[str] = set()  # plugins that get no more events, because they failed too often

    def open(self) -> None:
        """Deliver to each the events since its last one; to a new observer those from now on."""
        for plugin, observe in self._observers.items():
            self._tasks.spawn(self._follow(plugin, observe))

    async def _follow(self, plugin: str, observe: Observe) -> None:
        cursor = self._cursor(plugin)
        try:
            await self._deliver(plugin, observe, cursor)
        except Exception:
            log.exception("plugin %s gets no more events", plugin)
        finally:
            cursor.close()
        self.dropped.add(plugin)

    def _cursor(self, plugin: str) -> EventCursor:
        try:
            return self._table.events(self._table.meta(f"{LAST_REVISION}{plugin}", None))
        except OffsetOutOfRange:  # the stored revision is of another job table
            return self._table.events(None)

    async def _deliver(self, plugin: str, observe: Observe, cursor: EventCursor) -> None:
        """Call the observer for each event; return when it has failed too often."""
        faults = 0
        self._table.set_meta(f"{LAST_REVISION}{plugin}", cursor.revision)
        while True:
            page = await cursor.next()
            if page.gap is not None:
                log.warning("plugin %s is too slow: events up to revision %d are gone", plugin, page.gap)
            for revision, text in page.events:
                faults = 0 if await self._call_observer(plugin, observe, text) else faults + 1
                self._table.set_meta(f"{LAST_REVISION}{plugin}", revision)
                if faults == MAX_FAULTS:
                    log.error("plugin %s has failed at %d events in a row: it gets no more", plugin, faults)
                    return

    async def _call_observer(self, plugin: str, observe: Observe, text: str) -> bool:
        """Return whether the observer has handled the event without an error; call it again if it asks for that."""
        while True:
            await self._host.free(plugin)  # another part of the plugin may block its thread
            try:
                later = await self._host.call_of(plugin, OBSERVER, partial(_call, observe, text))
            except (PluginFault, JobworkerError) as error:
                log.error("plugin %s: %s", plugin, error)
                return False
            if later is None:
                return True
            await asyncio.sleep(later)


async def _call(observe: Observe, text: str) -> float | None:
    """Call a hook with a copy of the event, in the plugin's thread; return in how many seconds to call it again."""
    answer = observe(decode_event(text))
    if inspect.isawaitable(answer):
        answer = await answer
    if isinstance(answer, int | float) and not isinstance(answer, bool) and answer >= 0:
        return float(min(answer, MAX_LATER_SECONDS))
    return None
