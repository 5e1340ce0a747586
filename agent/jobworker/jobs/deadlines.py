"""Watch one time limit of a running job: ask its policy when it is due, wait, ask again, and fire."""

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

from jobworker.errors import JobworkerError
from jobworker.host.wall_clock import WallClock
from jobworker.interfaces import RunFacts, TimeoutPolicy
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.plan import TimeLimit
from jobworker.logs.reader import LogReader
from jobworker.model import State
from jobworker.plugin.host import PluginFault, PluginHost, clean
from jobworker.validation import shown

log = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 3600.0  # the loop's clock stands still while the host sleeps, CLOCK_BOOTTIME does not
BLOCKED_PLUGIN_SECONDS = 60.0  # for which a limit waits for a plugin that blocks its thread
MAX_REASON = 200  # characters of a reason of a policy
ANSWER_AGAIN_SECONDS = 1.0  # until an answer is tried again while a client has claimed the input
RETRY_SECONDS = 1.0  # until a reading that failed is tried again
SAME_MOMENT_SECONDS = 0.1  # two moments this close count as one: each is computed from two clocks
CPUS = len(os.sched_getaffinity(0))


def boottime() -> float:
    """Return seconds on the clock of deadlines, which counts the host's sleep and is never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ActivityReader:
    """Reads what a job has written and used, and notes when that last changed, on a clock that is never set."""

    def __init__(self, active: ActiveJob, log: Path) -> None:
        self.active = active
        self._log = log
        self._bytes = 0  # as of the last reading
        self._cpu = 0.0  # seconds, as of the last reading
        # Moments on CLOCK_BOOTTIME, in seconds.
        self._read = self._last_output = self._last_cpu = active.record.process.started / 1e9

    async def facts(self, *, cpu: bool) -> RunFacts:
        """Read what the policy is given. `cpu`: also the CPU time, which may take a walk through /proc."""
        now, wall = boottime(), time.time()
        reader = LogReader(self._log)
        size, arrived = reader.last_arrival()
        reader.close()
        if (
            size != self._bytes
        ):  # since the last reading: the time of arrival is on the wall clock, which may have been set
            self._last_output = min(max(now - (wall - arrived / 1e9), self._read), now)
        used = await self.active.tree().cpu_seconds() if cpu else self._cpu
        if used != self._cpu:
            self._last_cpu = now
        self._last_output = max(self._last_output, self.active.record.pause.resumed / 1e9)
        self._bytes, self._cpu, self._read = size, used, now
        record = self.active.record
        waiting = record.job.waiting if size == record.input.quiet else None
        return RunFacts(
            now=now,
            started=self.active.record.process.started / 1e9,
            wall=wall,
            output_bytes=size,
            last_output=self._last_output,
            cpu_seconds=used,
            last_cpu=self._last_cpu,
            cpus=CPUS,
            paused=record.job.state == State.PAUSED,
            waiting_since=None if waiting is None else self.active.waiting_since,
            prompt="" if waiting is None else waiting.prompt,
        )


class Deadline(NamedTuple):
    """The moment at which a limit ends the job, as far as is known now."""

    due: float  # seconds on CLOCK_BOOTTIME
    limit: TimeLimit
    reason: str = ""  # of the policy, if it gives one


async def watch(
    activity: ActivityReader,
    policy: TimeoutPolicy,
    limit: TimeLimit,
    host: PluginHost,
    clock: WallClock,
    near: Callable[[Deadline], None],
    answer: Callable[[Deadline, str], Awaitable[bool]],
    fire: Callable[[Deadline], Awaitable[None]],
    failed: Callable[[str], None],
    lead: float,
) -> None:
    """Wait until one limit is due and call `fire`; before that call `near`. If the policy fails, call `failed`.

    If the policy has an answer for the job, call `answer` in place of both, and go on when the job waits again, or
    after a moment if `answer` returns that it may be possible later.

    `near` is called `lead` seconds before the moment, or after half of the time that is left when the moment becomes
    known; not if the moment has changed by then: a policy may return one only to be asked again at that time.
    """
    wakeup = asyncio.Event()
    clock.waiters.add(wakeup)
    if wants_waiting := bool(getattr(policy, "wants_waiting", False)):
        activity.active.waits.add(wakeup)
    known, warn_at = -math.inf, math.inf
    try:
        while True:
            wakeup.clear()
            try:
                due, facts = await _ask(policy, limit, activity, host)
            except PluginFault as error:
                failed(str(error))
                return
            if due is None:
                if not wants_waiting:
                    return
                known = -math.inf  # the next time that it waits is another one
                await wakeup.wait()
                continue
            deadline = Deadline(due, limit)
            now = boottime()
            left = due - now
            if left <= 0:
                if (text := await _answer(policy, limit, facts, host)) is None:
                    break
                later = await answer(deadline, text)
                with suppress(TimeoutError):  # the event is set by now, unless the text was not written
                    await asyncio.wait_for(wakeup.wait(), ANSWER_AGAIN_SECONDS if later else None)
                continue
            if abs(due - known) > SAME_MOMENT_SECONDS:
                known, warn_at = due, (now + max(left / 2, left - lead) if lead else math.inf)
            elif now >= warn_at:
                if await _answer(policy, limit, facts, host) is None:
                    near(deadline)
                warn_at = math.inf
            try:
                await asyncio.wait_for(wakeup.wait(), min(left, max(warn_at - now, 0), MAX_WAIT_SECONDS))
            except TimeoutError:
                pass
    finally:
        clock.waiters.discard(wakeup)
        activity.active.waits.discard(wakeup)
    await fire(deadline._replace(reason=await _reason(policy, limit, facts, host)))


async def _answer(policy: TimeoutPolicy, limit: TimeLimit, facts: RunFacts, host: PluginHost) -> str | None:
    """Return the text that the policy has for the job's input; None if it has none, or fails: the job is stopped."""
    if (give := getattr(policy, "answer", None)) is None:
        return None
    try:
        text = await host.run(policy, lambda: give(deepcopy(limit.options), facts))
    except (PluginFault, JobworkerError) as error:
        log.error("the answer of timeout policy %s: %s", policy.name, error)
        return None
    return clean(text) if isinstance(text, str) else None


async def _reason(policy: TimeoutPolicy, limit: TimeLimit, facts: RunFacts, host: PluginHost) -> str:
    """Return why the time is up, in the words of the policy; "" if it has none, or fails to give it."""
    if (give := getattr(policy, "reason", None)) is None:
        return ""
    try:
        reason = await host.run(policy, lambda: give(deepcopy(limit.options), facts))
    except (PluginFault, JobworkerError) as error:
        log.error("the reason of timeout policy %s: %s", policy.name, error)
        return ""
    return " ".join(clean(reason).split())[:MAX_REASON] if isinstance(reason, str) else ""


async def _facts(activity: ActivityReader, *, cpu: bool) -> RunFacts:
    """Read the facts, again and again if that fails, as for lack of a descriptor: no limit is dropped for it."""
    while True:
        try:
            return await activity.facts(cpu=cpu)
        except OSError as error:
            log.warning("a time limit cannot be checked now, trying again in %g s: %s", RETRY_SECONDS, error)
        await asyncio.sleep(RETRY_SECONDS)


async def _ask(
    policy: TimeoutPolicy, limit: TimeLimit, activity: ActivityReader, host: PluginHost
) -> tuple[float | None, RunFacts]:
    """Return the moment that the policy returns, None if there is none, by which facts; raise PluginFault."""
    # Another part of the plugin may block: that is no fault of this limit.
    await host.free_soon(policy, BLOCKED_PLUGIN_SECONDS)
    facts = await _facts(activity, cpu=bool(getattr(policy, "wants_cpu", True)))
    try:
        due = await host.run(policy, lambda: policy.due(deepcopy(limit.options), facts))
        if due is None:
            return None, facts
        if isinstance(due, bool) or not isinstance(due, int | float) or math.isnan(due):
            raise ValueError(f"due: {shown(due)}; expected seconds on the clock of facts.now, or None")
        return float(due), facts
    except (JobworkerError, TypeError, ValueError, OverflowError) as error:
        raise PluginFault(f"{policy.name}: {error}") from error
