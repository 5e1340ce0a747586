"""The processes of the only job of a runner: all that descend from it, but for the pump.

The runner is their subreaper, so an orphan becomes its child, whatever session, group or name the process has taken:
without a child that is no pump, nothing of the job is left.
"""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from jobworker.keeper.signals import Signals
from jobworker.keeper.state import State
from jobworker.linux.proc import TICKS_PER_SECOND, children_of, has_ended, is_stopped, named_stat_of

ROUNDS = 50  # of listing and signalling, for a tree that grows meanwhile
STOP_SECONDS = 2.0  # for processes that were sent SIGSTOP to stand still
LOOK_AGAIN_SECONDS = 0.01
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
INSISTENT = (signal.SIGKILL, signal.SIGSTOP)  # which processes that are forked meanwhile are to get as well


class Descendants:
    """Find and signal them; `job` is the id by which the parts of the keeper know them."""

    def __init__(self, state: State, signals: Signals, job: str) -> None:
        self._state = state
        self._signals = signals
        self._job = job

    def are_gone(self) -> bool:
        """Whether none is left, exactly: this process alone reaps them, so that no child is missed in the list."""
        return not children_of(os.getpid()) - {self._state.pump_pid}

    def members(self) -> dict[int, tuple[int, str]]:
        """Return start, in ticks after boot, and name by pid of those that live.

        One that is forked during the walk may be missed: ask until none is new.
        """
        found: dict[int, tuple[int, str]] = {}
        waiting = [*(children_of(os.getpid()) - {self._state.pump_pid})]
        while waiting:
            pid = waiting.pop()
            try:
                waiting += _children(pid)
                name, stat = named_stat_of(pid)
            except (OSError, IndexError):
                continue  # gone: what it has left becomes our child
            if not has_ended(stat):
                found[pid] = (int(stat[19]), name)
        return found

    def signal(self, number: int, *, strike: bool) -> dict[int, str]:
        """Signal them all; return the names by pid of those that were alive.

        `strike`: the signal counts as the cause of the end.
        """
        found = self._settled()
        reached = {pid: name for pid, (_, name) in found.items()}
        self._send(number, found, strike=strike)
        for _ in range(ROUNDS if number in INSISTENT else 0):
            found = {pid: process for pid, process in self.members().items() if pid not in reached}
            if not found:
                break
            self._send(number, found, strike=strike)
            reached |= {pid: name for pid, (_, name) in found.items()}
        return reached

    def _settled(self) -> dict[int, tuple[int, str]]:
        """Return `members`, listed again until none is new: what a signal has them start does not get it."""
        found = self.members()
        for _ in range(ROUNDS):
            again = self.members()
            if again.keys() <= found.keys():
                break
            found |= again
        return found

    def _send(self, number: int, members: dict[int, tuple[int, str]], *, strike: bool) -> None:
        pids = [[pid, start] for pid, (start, _) in members.items()]
        self._signals.signal(
            {"id": self._job, "signal": number, "target": "all", "pids": pids, "group": "", "strike": strike}
        )

    def freeze(self) -> int:
        """Stop them all; return how many stand still."""
        pids = self.signal(signal.SIGSTOP, strike=False)
        until = time.monotonic() + STOP_SECONDS
        while not all(map(is_stopped, pids)) and time.monotonic() < until:
            time.sleep(LOOK_AGAIN_SECONDS)
        return len(pids)

    def usage(self) -> dict[str, Any]:
        """Return what they have used by now: seconds of CPU, and bytes and number of the living ones."""
        own = os.times()
        ticks = memory = pids = 0
        for pid in self.members():
            try:
                stat = named_stat_of(pid)[1]
            except (OSError, IndexError):
                continue
            ticks += sum(int(field) for field in stat[11:15])
            memory += int(stat[21]) * PAGE_BYTES
            pids += int(stat[17])
        seconds = ticks / TICKS_PER_SECOND + own.children_user + own.children_system
        return {"cpu_seconds": round(seconds, 3), "memory": memory, "pids": pids}


def _children(pid: int) -> Iterator[int]:
    """Yield the children that all threads of a process have started; raise OSError if it is gone."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                yield from map(int, file.read().split())
        except OSError:
            continue  # the thread has ended
