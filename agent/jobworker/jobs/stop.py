"""Stop one job by its stop strategy, and kill what the strategy leaves after a time limit."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

from jobworker.errors import InvalidSpec, JobworkerError, RpcError
from jobworker.host.keeper_link import KeeperLink
from jobworker.host.process_tree import PROOFS, described
from jobworker.host.strays import StrayTree
from jobworker.interfaces import LongStopStrategy, StopOptions, StopStrategy
from jobworker.jobs import commands
from jobworker.jobs.active import ActiveJob
from jobworker.jobs.inputs import Inputs
from jobworker.jobs.plan import LaunchPlan, signal_number
from jobworker.jobs.remote.job import RemoteJob
from jobworker.model import Job, Receipt, Step
from jobworker.plugin.host import PluginFault, PluginHost, clean
from jobworker.signal_names import name_of
from jobworker.units import rfc3339, seconds

log = logging.getLogger(__name__)

KILL = "kill"  # the strategy in a receipt if no strategy could be used
SURVIVOR_SECONDS = 5.0  # after our own SIGKILL until a process counts as a survivor
CANCEL_SECONDS = 45.0  # after an engine was asked to cancel a job, until it counts as a survivor
KILL_AGAIN_SECONDS = 0.1  # between two SIGKILLs for the tree
T = TypeVar("T")


async def send_signal(
    active: ActiveJob, link: KeeperLink, number: int, target: str, *, signalled: bool = True
) -> tuple[int | None, int]:
    """Signal the tree or the main process; return how many were alive before (None: unknown) and how many got it.

    `signalled`: an exit that follows counts as caused by this signal.
    """
    if active.remote is not None:
        return None, await active.remote.signal(number, target, strike=signalled)
    tree = active.tree()
    members = await tree.members()
    how: dict[str, Any] = {"signal": number, "target": target, "pids": [], "strike": signalled}
    if tree.method != "cgroup":
        how["pids"] = [[process.pid, process.start] for process in members]
    if isinstance(tree, StrayTree):
        how["strays"] = [[process.pid, process.start] for process in members if process.pid not in tree.inside]
    answer = await link.insist("signal", id=active.id, init=active.init(), group=active.record.process.group, **how)
    return len(members), int(answer["delivered"])


class StopRun:
    """One stop of one job: its steps become the receipt."""

    def __init__(
        self,
        active: ActiveJob,
        plan: LaunchPlan,
        link: KeeperLink,
        host: PluginHost,
        resume: Callable[[ActiveJob], Awaitable[None]],
        save_steps: Callable[[ActiveJob, list[Step]], None],
        inputs: Inputs,
    ) -> None:
        self._active = active
        self._plan = plan
        self._link = link
        self._host = host
        self._resume = resume  # lets a paused job go on
        self._save_steps = save_steps
        self._inputs = inputs
        self._steps = list(active.record.stop.steps)  # those of an agent that died within this stop, then ours
        self._killed = asyncio.Event()  # set at the first SIGKILL for the whole tree
        self._kill_until = 0.0  # on CLOCK_MONOTONIC: what is left then counts as survivors

    async def run(self, strategy: StopStrategy | None, options: StopOptions, limit: float) -> Receipt:
        """Run the strategy, kill what it leaves, and return the receipt.

        The strategy may take as long as it announces, plus `limit` seconds. Without a strategy, only kill.
        """
        await self._active.has_strays()
        if self._steps:
            self.note("continued", detail="by the next agent, from the beginning")
        if strategy is not None:
            await self._try(strategy, options, limit)
        survivors = await self._make_sure()
        method, name = self._active.tree().method, strategy.name if strategy is not None else KILL
        return Receipt(name, method, "none" if survivors else PROOFS[method], self._steps, survivors)

    async def _try(self, strategy: StopStrategy, options: StopOptions, limit: float) -> None:
        """Run the strategy; an error of it becomes a step of the receipt, and the stop goes on."""
        loop = asyncio.get_running_loop()
        handle = _Handle(self, loop, deepcopy(self._active.record.job), self._plan)
        try:
            longest = options.grace
            if isinstance(strategy, LongStopStrategy):
                longest = await self._host.run(strategy, partial(_longest, strategy, deepcopy(options)))
            shown = deepcopy(options)
            await self._host.call(strategy, partial(_run_strategy, strategy, handle, shown), longest + limit)
        except (PluginFault, JobworkerError) as error:
            self.note("strategy_failed", detail=str(error))
            log.warning("job %s: stop strategy %s: %s", self._active.id, strategy.name, error)
        finally:
            handle.over = True

    async def _make_sure(self) -> list[dict[str, Any]]:
        """Kill what is left, unless that was tried already; return the survivors."""
        if not self._given_up() and await self._is_left():
            self.note("kill", detail="processes are left")
            try:
                await self.signal("SIGKILL", "all")
                await self._kill_again(None)
            except JobworkerError as error:
                self.note("kill_failed", detail=str(error) or "the keeper is gone")
        if self._active.remote is not None:
            return await self._make_sure_elsewhere(self._active.remote)
        left = await self._active.tree().members()
        return await described(left + [each for each in await self._active.unattributed() if each not in left])

    async def _is_left(self) -> bool:
        if self._active.remote is not None:
            return not self._active.record.process_tree_gone
        return not self._active.record.job.state.final or bool(await self._active.tree().members())

    async def _make_sure_elsewhere(self, remote: RemoteJob) -> list[dict[str, Any]]:
        """Have the engine end what its runner did not; return what is left all the same."""
        if remote.survivors():
            why = await remote.cancel()
            self.note("cancel_failed" if why else "cancel", detail=why or "by the engine: its runner did not end it")
            await self._gone(CANCEL_SECONDS)
        return remote.survivors()

    def _given_up(self) -> bool:
        """Whether SIGKILL was sent for as long as it makes sense."""
        return self._killed.is_set() and time.monotonic() >= self._kill_until

    async def _kill_again(self, limit: float | None) -> bool:
        """Kill until the tree is gone or time is up: a sweep misses processes that were forked since it began."""
        end = self._kill_until if limit is None else min(self._kill_until, time.monotonic() + limit)
        if self._active.remote is not None:  # its runner sends SIGKILL again itself
            return await self._gone(end - time.monotonic())
        while not await self._gone(KILL_AGAIN_SECONDS) or await self._active.tree().members():
            if time.monotonic() >= end:
                return False
            await send_signal(self._active, self._link, signal.SIGKILL, "all")
        return True

    def note(self, action: str, signal: str | None = None, at: int = 0, **what: Any) -> None:
        self._steps.append(Step(rfc3339(at or time.time_ns()), action, signal, **what))
        self._save_steps(self._active, self._steps)

    async def signal(self, name: str, target: str) -> int:
        number = signal_number(name, "signal")
        at = time.time_ns()
        alive, delivered = await send_signal(self._active, self._link, number, target)
        self.note("signal", name_of(number), at, target=target, alive=alive, delivered=delivered)
        await self._thaw()  # only now: a paused job executes nothing before the signal
        if number == signal.SIGKILL and target == "all":
            if not self._killed.is_set():
                self._kill_until = time.monotonic() + SURVIVOR_SECONDS
            self._killed.set()
        return delivered

    async def _thaw(self) -> None:
        """Let a paused job go on: frozen, it handles no signal and answers no request."""
        if self._active.record.pause.frozen:
            await self._resume(self._active)

    async def asked(self, how: str) -> None:
        await send_signal(self._active, self._link, 0, "main")  # signal 0 only checks that it is alive
        await self._thaw()
        self.note("asked", detail=how)

    async def write(self, data: bytes) -> None:
        """Write to the job's input, with the lease of the writer if there is one; raise OSError."""
        await self._thaw()
        try:
            await self._inputs.write(self._active.id, data, None, self._active.record.input.lease)
        except RpcError as error:
            raise BrokenPipeError(error.message) from error

    async def wait(self, limit: float | None) -> bool:
        """Wait until the tree is gone; after SIGKILL for it, send that again meanwhile, until time is up."""
        await self._thaw()
        began = time.monotonic()
        waits = [asyncio.ensure_future(wait) for wait in (self._gone(limit), self._killed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not self._killed.is_set():
                return await waits[0]
        finally:
            for wait in waits:
                wait.cancel()
        return await self._kill_again(None if limit is None else limit - (time.monotonic() - began))

    async def run_command(self, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> None:
        await self._thaw()
        await commands.run(self._active, self._plan, self._link, argv, env, timeout)

    async def _gone(self, limit: float | None) -> bool:
        try:
            async with asyncio.timeout(limit):
                await self._active.gone()
        except TimeoutError:
            return False
        return True


async def _run_strategy(strategy: StopStrategy, handle: "_Handle", options: StopOptions) -> None:
    """Run the strategy; an invalid argument to its handle is a fault of the strategy."""
    try:
        await strategy.stop(handle, options)
    except InvalidSpec as error:
        raise ValueError(error.message) from error


def _longest(strategy: LongStopStrategy, options: StopOptions) -> float:
    return seconds(strategy.longest(options), "longest")


class _Handle:
    """The strategy's handle on the job, in the plugin's thread: each call runs in the agent's loop."""

    def __init__(
        self,
        stop: StopRun,
        loop: asyncio.AbstractEventLoop,
        job: Job,
        plan: LaunchPlan,
    ) -> None:
        self.job = job
        self.env: Mapping[str, str] = dict(plan.env)
        self.cwd = plan.cwd
        self.over = False  # the strategy has returned or was given up: further calls raise
        self._stop = stop
        self._loop = loop

    async def signal(self, name: str, target: str = "all") -> int:
        return await self._carry(self._stop.signal(name, target))

    async def asked(self, how: str) -> None:
        await self._carry(self._stop.asked(clean(str(how)[:200])))

    async def wait(self, timeout: float | None = None) -> bool:
        return await self._carry(self._stop.wait(timeout))

    async def write(self, text: str) -> None:
        await self._carry(self._stop.write(clean(str(text)).encode()))

    async def run(self, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> None:
        await self._carry(self._stop.run_command(argv, env, timeout))

    def _refuse_if_over(self) -> None:
        if self.over:
            raise RuntimeError("this stop is over")

    async def _carry(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            self._refuse_if_over()
        except RuntimeError:
            call.close()
            raise
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))
