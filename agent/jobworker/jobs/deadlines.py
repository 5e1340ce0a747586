"""Watch a running job's limits: ask the timeout policies when it is due, wait, ask again, stop it."""

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from jobworker.interfaces import RunFacts, TimeoutPolicy
from jobworker.jobs.live import LiveJob
from jobworker.model import State, TimeoutSpec
from jobworker.plugins import PluginFault, PluginHost
from jobworker.runtime.clock import WallClock
from jobworker.runtime.logs import LogReader

log = logging.getLogger(__name__)

LONGEST_WAIT = 3600.0  # the loop's clock stands still while the host sleeps, CLOCK_BOOTTIME does not
CPUS = len(os.sched_getaffinity(0))
Limit = tuple[TimeoutPolicy, TimeoutSpec]


def boottime() -> float:
    """Return seconds on the clock that deadlines run on: it counts sleep and is never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Observer:
    """Sees what a job has written and used, and when that last changed, on a clock that is never set."""

    def __init__(self, live: LiveJob, log: Path) -> None:
        self._live = live
        self._log = log
        self._bytes = 0
        self._cpu = 0.0
        self._looked = self._last_output = self._last_cpu = live.record.started / 1e9

    async def facts(self) -> RunFacts:
        now, wall = boottime(), time.time()
        reader = LogReader(self._log)
        size, arrived = reader.last_arrival()
        reader.close()
        if size != self._bytes:  # since the last look: the wall clock says when, and may have been set
            self._last_output = min(max(now - (wall - arrived / 1e9), self._looked), now)
        cpu = await self._live.tree().cpu_seconds()
        if cpu != self._cpu:
            self._last_cpu = now
        self._last_output = max(self._last_output, self._live.record.resumed / 1e9)
        self._bytes, self._cpu, self._looked = size, cpu, now
        return RunFacts(
            now=now,
            started=self._live.record.started / 1e9,
            wall=wall,
            output_bytes=size,
            last_output=self._last_output,
            cpu_seconds=cpu,
            last_cpu=self._last_cpu,
            cpus=CPUS,
            paused=self._live.record.job.state == State.PAUSED,
        )


async def watch(
    observer: Observer,
    limits: list[Limit],
    host: PluginHost,
    clock: WallClock,
    fire: Callable[[TimeoutSpec, float], Awaitable[None]],
) -> None:
    """Wait for the first limit to be due and fire once, with the seconds by which that is late."""
    bell = asyncio.Event()
    clock.bells.add(bell)
    try:
        while True:
            bell.clear()
            facts = await observer.facts()
            earliest = await _earliest(limits, facts, host)
            if earliest is None:
                return
            due, spec = earliest
            left = due - boottime()
            if left <= 0:
                break
            try:
                await asyncio.wait_for(bell.wait(), min(left, LONGEST_WAIT))
            except TimeoutError:
                pass
    finally:
        clock.bells.discard(bell)
    await fire(spec, -left)


async def _earliest(limits: list[Limit], facts: RunFacts, host: PluginHost) -> tuple[float, TimeoutSpec] | None:
    earliest: tuple[float, TimeoutSpec] | None = None
    for policy, spec in limits:
        due = await _ask(policy, spec, facts, host)
        if due is not None and (earliest is None or due < earliest[0]):
            earliest = (due, spec)
    return earliest


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
