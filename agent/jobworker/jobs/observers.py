"""Tell plugins what happened to jobs: each has a cursor of its own over the events, and its own pace."""

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jobworker.background import Background
from jobworker.errors import JobworkerError
from jobworker.jobs.events import EventCursor, decode
from jobworker.model import JobEvent
from jobworker.plugin_host import PluginFault, PluginHost

log = logging.getLogger(__name__)

FAULTS = 5  # one after the other, after which an observer hears no more
HOOK = "job_changed"

Observe = Callable[[JobEvent], Any]


class Observers:
    """Those of all plugins. What happens while the agent is away, or has failed to be told, is not told again."""

    def __init__(self, observers: Mapping[str, Observe], host: PluginHost, tasks: Background) -> None:
        self._observers = observers
        self._host = host
        self._tasks = tasks
        self.dropped: set[str] = set()  # plugins that hear no more

    def open(self, cursor: Callable[[], EventCursor]) -> None:
        """Tell from now on what comes by a cursor."""
        for plugin, observe in self._observers.items():
            self._tasks.spawn(self._follow(plugin, observe, cursor()))

    async def _follow(self, plugin: str, observe: Observe, cursor: EventCursor) -> None:
        faults = 0
        try:
            while faults < FAULTS:
                page = await cursor.next()
                if page.gap is not None:
                    log.warning("plugin %s is too slow: events up to revision %d are gone", plugin, page.gap)
                for _, text in page.events:
                    faults = 0 if await self._tell(plugin, observe, text) else faults + 1
                    if faults == FAULTS:
                        break
        finally:
            cursor.close()
        self.dropped.add(plugin)
        log.error("plugin %s has failed at %d events one after the other: it hears no more", plugin, faults)

    async def _tell(self, plugin: str, observe: Observe, text: str) -> bool:
        """Return whether it went well."""
        await self._host.free(plugin)  # it may be another part of the plugin that blocks
        try:
            await self._host.call_of(plugin, HOOK, partial(_call, observe, text))
        except (PluginFault, JobworkerError) as error:
            log.error("plugin %s: %s", plugin, error)
            return False
        return True


async def _call(observe: Observe, text: str) -> None:
    """Call a hook with an event of its own, in the plugin's thread."""
    answer = observe(decode(text))
    if inspect.isawaitable(answer):
        await answer
