"""Watch a running job's limits: ask the timeout policies when it is due, wait, ask again, stop it."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from jobworker.interfaces import RunFacts, TimeoutPolicy
from jobworker.jobs.live import LiveJob
from jobworker.model import TimeoutSpec
from jobworker.plugins import PluginFault, PluginHost

log = logging.getLogger(__name__)

LONGEST_WAIT = 3600.0  # the loop's clock stands still while the host sleeps, CLOCK_BOOTTIME does not


def boottime() -> float:
    """Return seconds on the clock that deadlines run on: it counts sleep and is never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def watch(
    live: LiveJob,
    limits: list[tuple[TimeoutPolicy, TimeoutSpec]],
    host: PluginHost,
    fire: Callable[[LiveJob, TimeoutSpec, float], Awaitable[None]],
) -> None:
    """Wait for the first limit to be due and fire once, with the seconds by which that is late."""
    while True:
        now = boottime()
        earliest: tuple[float, TimeoutSpec] | None = None
        facts = RunFacts(now=now, started=live.record.started / 1e9, wall=time.time())
        for policy, spec in limits:
            due = await _ask(policy, spec, facts, host)
            if due is not None and (earliest is None or due < earliest[0]):
                earliest = (due, spec)
        if earliest is None:
            return
        left = earliest[0] - boottime()
        if left <= 0:
            await fire(live, earliest[1], -left)
            return
        await asyncio.sleep(min(left, LONGEST_WAIT))


async def _ask(policy: TimeoutPolicy, spec: TimeoutSpec, facts: RunFacts, host: PluginHost) -> float | None:
    try:
        due = await host.run(policy.name, lambda: policy.due(spec.options, facts))
        if due is None:
            return None
        if math.isnan(due):
            raise ValueError("it returned NaN")
        return float(due)
    except (PluginFault, TypeError, ValueError) as error:
        log.error("timeout policy %s: %s; its limit does not hold", policy.name, error)
        return None
