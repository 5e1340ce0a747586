"""Notice when a job waits for its input, and when it does no longer.

A job that has an input is looked at once it is silent: it has written nothing and was written nothing for a moment.
Two numbers stand for that, and cost little to compare. Its processes are looked at once in each silence and, if it
does not wait, again after ever longer pauses. All of it takes a bounded share of a processor.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from jobworker.host.input_wait import Input, Look, hidden, look, members, terminal_of
from jobworker.host.keeper_link import KeeperLink
from jobworker.host.procfs import ProcReader, run_with_stuck_guard
from jobworker.host.spool import accepted_by_name
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.deadlines import boottime
from jobworker.jobs.prompt import read_prompt
from jobworker.jobs.table import JobTable
from jobworker.linux.proc import TICKS_PER_SECOND, start_of
from jobworker.logs.reader import LogReader
from jobworker.model import State, Waiting
from jobworker.paths import Home
from jobworker.rate_limit import RateLimiter
from jobworker.units import rfc3339

log = logging.getLogger(__name__)

SILENCE_SECONDS = 0.2  # without output or input, until a job is looked at
CONFIRM_SECONDS = 0.1  # from the look that finds it waiting to the second one, which must find the same
MAX_TICK_SECONDS = 1.0  # between two readings of the amounts, in a long silence
MAX_LOOK_SECONDS = 5.0  # between two looks at a silent job that does not wait
TOGETHER_SECONDS = 0.02  # jobs that are due so soon after another are read with it, in one round
ROUND_SECONDS = 0.02  # of CPU time, after which a round looks at no further job
MAX_ROUND_SECONDS = 0.04  # that count of one round: a host that stops for a while makes it look longer
SHARE = 50  # the time that all this takes is at most one part in so many of one processor
BUSY_SHARE = 0.05  # of one processor, which a job may use while it waits, as for a clock on its screen
BURST, RATE = 30, 0.5  # waits of one job that are recorded at once, and each second: someone types into a shell


class Watched:
    """What was seen of one job. Moments are on CLOCK_MONOTONIC."""

    def __init__(self, active: ActiveJob, now: float) -> None:
        self.active = active
        self.source: Input | None = None  # found when it is first looked at
        self.amounts = (-1, -1)  # what stands for its output and its input so far, at the last reading
        self.moved = now  # when one was last seen to change
        self.writes = 0  # how often a caller has written to it
        self.due = now + SILENCE_SECONDS  # when they are read again
        self.look_at = 0.0  # when its processes are looked at again, if it is silent
        self.pause = SILENCE_SECONDS  # from the last look to that one
        self.found = 0.0  # when a look found it waiting, to be confirmed; 0: it did not
        self.found_time = 0  # the same on the wall clock, ns
        self.ticks = 0  # of CPU time, as of that look
        self.refused = ""  # why one of its processes could not be looked at, at the last look

    def stir(self, now: float) -> None:
        """Note that output or input has moved."""
        self.moved, self.pause, self.look_at, self.found = now, SILENCE_SECONDS, 0.0, 0.0
        self.due = now + SILENCE_SECONDS


class Seen(NamedTuple):
    """What one round has read of a job."""

    watched: Watched
    writes: int  # `Watched.writes` before
    amounts: tuple[int, int]
    look: Look | None
    end: int  # of its log, if the look found it waiting
    prompt: str


class InputWaits:
    """Watches all running jobs that have an input."""

    def __init__(self, home: Home, table: JobTable, link: KeeperLink) -> None:
        self._home = str(home.path)
        self._table = table
        self._link = link
        self._watched: dict[str, Watched] = {}  # by job
        self._wakeup = asyncio.Event()  # a job is due earlier than was known
        self._recorded = RateLimiter(RATE, BURST)  # by job

    def hidden(self) -> str:
        """Return why it is not seen on this host whether jobs wait; "" if it is: the keeper is looked at."""
        pid = self._link.hello.get("pid", 0)
        try:
            return run_with_stuck_guard(partial(hidden, pid, start_of(pid)))
        except OSError:
            return ""  # there is no keeper now

    def refused(self) -> str:
        """Return why a process of some job could not be looked at, as one of another user; "" if all could."""
        return next((watched.refused for watched in self._watched.values() if watched.refused), "")

    def watch(self, active: ActiveJob) -> None:
        """Watch a job that has been started, if it has an input, until it ends."""
        if active.record.job.spec.has_input() and not active.record.job.state.final:
            self._watched[active.id] = Watched(active, time.monotonic())
            self._wakeup.set()

    def written(self, active: ActiveJob) -> None:
        """Note that a caller has written to a job, or has closed its input."""
        if (watched := self._watched.get(active.id)) is not None:
            watched.writes += 1
            self._end(active, "its input moved")
            before = watched.due
            watched.stir(time.monotonic())
            if watched.due < before:
                self._wakeup.set()

    def end_all(self) -> None:
        """End the waits that the agent before this one has recorded."""
        for active in self._table:
            self._end(active, "its agent has ended")

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            self._wakeup.clear()
            try:
                spent = await self._look_at_due(time.monotonic())
            except Exception:
                log.exception("not seen whether jobs wait for their input")
                spent = MAX_ROUND_SECONDS
            await asyncio.sleep(min(spent, MAX_ROUND_SECONDS) * SHARE)
            due_at = min((watched.due for watched in self._watched.values()), default=math.inf)
            wait = max(0.0, due_at - time.monotonic()) + TOGETHER_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due_at == math.inf else wait):
                    await self._wakeup.wait()

    async def _look_at_due(self, now: float) -> float:
        """Look at the jobs that are due, as many as fit into a round; return the CPU seconds that it took."""
        due = sorted((watched for watched in self._watched.values() if watched.due <= now), key=attrgetter("due"))
        if not due:
            return 0.0
        began = [(watched, watched.writes) for watched in due]
        seen, spent = await asyncio.to_thread(run_with_stuck_guard, partial(self._round, began, now))
        for each in seen:
            self._settle(each, time.monotonic())
        return spent

    # In a thread

    def _round(self, due: Sequence[tuple[Watched, int]], now: float, reader: ProcReader) -> tuple[list[Seen], float]:
        """Read what is due, and return it and the CPU seconds that it took."""
        began = time.thread_time()
        seen = []
        for watched, writes in due:
            if time.thread_time() - began > ROUND_SECONDS:
                break  # the others are the first of the next round
            try:
                seen.append(self._see(watched, writes, now, reader))
            except OSError as error:  # as for lack of a descriptor
                log.warning("job %s: not seen whether it waits for its input: %s", watched.active.id, error)
                watched.due = now + MAX_LOOK_SECONDS
        return seen, time.thread_time() - began

    def _see(self, watched: Watched, writes: int, now: float, reader: ProcReader) -> Seen:
        active = watched.active
        amounts = self._written(active.id), accepted_by_name(self._home, active.id)
        silent = amounts == watched.amounts and now - watched.moved >= SILENCE_SECONDS
        job = active.record.job
        if not silent or job.waiting is not None or job.state != State.RUNNING or now < watched.look_at:
            return Seen(watched, writes, amounts, None, 0, "")
        found = self._look(watched, reader)
        if not found.waits:
            return Seen(watched, writes, amounts, found, 0, "")
        files = LogReader(self._table.log_path(active.id))
        try:
            end, quiet = files.size(), active.record.input.quiet
            # No terminal echoes the end of the line that answered the prompt before.
            begin = quiet if quiet < end and job.spec.terminal() is None else 0
            return Seen(watched, writes, amounts, found, end, read_prompt(files, begin))
        finally:
            files.close()

    def _written(self, job: str) -> int:
        """Return a number that changes with each output; to read how much that is would cost much more."""
        try:
            return os.stat(f"{self._table.log_path(job)}/index").st_mtime_ns
        except FileNotFoundError:
            return 0

    def _look(self, watched: Watched, reader: ProcReader) -> Look:
        record = watched.active.record
        main = record.job.pid or 0
        if watched.source is None:
            terminal = 0 if record.job.spec.terminal() is None else terminal_of(main)
            watched.source = Input(f"/{watched.active.id}.in", terminal)
        return look(members(record.process.group, (main, record.process.init)), watched.source, reader)

    # In the loop

    def _settle(self, seen: Seen, now: float) -> None:
        watched, active = seen.watched, seen.watched.active
        if active.record.job.state.final or active.deleted:
            self._watched.pop(active.id, None)
            return
        if seen.writes != watched.writes:
            return  # what was read is old
        if seen.amounts != watched.amounts:
            output, watched.amounts = seen.amounts[0] != watched.amounts[0], seen.amounts
            self._end(active, f"its {'output' if output else 'input'} moved")
            watched.stir(now)
            return
        if seen.look is not None:
            watched.refused = seen.look.refused
            self._judge(watched, seen, seen.look, now)
        watched.due = now + min(max(SILENCE_SECONDS, (now - watched.moved) / 4), MAX_TICK_SECONDS)
        if active.record.job.waiting is None:
            watched.due = max(min(watched.due, watched.look_at), now)

    def _judge(self, watched: Watched, seen: Seen, found: Look, now: float) -> None:
        """Act on a look: record the wait if it is the second one that found it, else set the time of the next."""
        if found.waits and not watched.found:
            watched.found, watched.found_time, watched.ticks = now, time.time_ns(), found.ticks
            watched.look_at = now + CONFIRM_SECONDS
            return
        used = (found.ticks - watched.ticks) / TICKS_PER_SECOND
        if found.waits and used <= 1 / TICKS_PER_SECOND + (now - watched.found) * BUSY_SHARE:
            if self._recorded.allows(watched.active.id, now):
                self._begin(watched, seen, now)
            else:
                watched.look_at = now + self._recorded.retry_after(watched.active.id, now)
            return
        watched.found = 0.0
        watched.pause = min(watched.pause * 2, MAX_LOOK_SECONDS)
        watched.look_at = now + watched.pause

    def _begin(self, watched: Watched, seen: Seen, now: float) -> None:
        active = watched.active
        if active.record.job.state != State.RUNNING:
            return
        active.waiting_since = boottime() - (now - watched.found)
        waiting = Waiting(seen.prompt, rfc3339(watched.found_time))
        record = active.record.with_input(quiet=seen.end).with_job(waiting=waiting)
        self._table.save(active, record, detail=seen.prompt)
        _wake(active)

    def _end(self, active: ActiveJob, why: str) -> None:
        if active.record.job.waiting is not None:
            self._table.save(active, active.record.with_job(waiting=None), detail=why)
            _wake(active)


def _wake(active: ActiveJob) -> None:
    """Have the time limits that want it look again."""
    for wakeup in active.waits:
        wakeup.set()
