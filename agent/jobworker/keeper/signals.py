"""Signal the processes of a job, each only after its identity was checked."""

import os
import signal
from typing import Any

from jobworker.keeper.launches import Launches
from jobworker.keeper.state import State
from jobworker.linux import cgroupfs
from jobworker.linux.proc import group_of, is_alive, start_of


class Signals:
    """The operations `signal`, `freeze` and `release`."""

    def __init__(self, state: State, launches: Launches) -> None:
        self._state = state
        self._launches = launches

    def signal(self, message: dict[str, Any]) -> dict[str, Any]:
        """Signal the main process, or the whole tree: that is `group`, or without one `pids`: [pid, start] of each.

        `strays`, as `pids`, have left that group. `init` is that of the job's namespace, if it has one: nothing in
        the namespace outlives it.
        The signal counts as the cause of the end unless the message has `strike: false`.
        """
        job, number = self._state.jobs.get(message["id"]), message["signal"]
        if job is not None and job.launching:  # what there is of it cannot handle a signal: end it, or leave it
            if number != signal.SIGKILL:
                return {"delivered": 0}
            job.struck = message.get("strike", True)
            return {"delivered": self._launches.cancel(job)}
        alive = job is not None and not job.ended and is_alive(job.pid)
        if message["target"] == "main":
            delivered = 0
            if job is not None and alive:
                if job.pidfd >= 0:
                    signal.pidfd_send_signal(job.pidfd, number)
                else:
                    os.kill(job.pid, number)  # our child, not reaped yet: the pid is still its own
                delivered = 1
        else:
            delivered = self._signal_tree(self._group(message), number, message["pids"], message.get("init"))
            delivered += sum(send(number, pid, start) for pid, start in message.get("strays", ()))
        if job is not None and alive and delivered and message.get("strike", True):
            job.struck = True
        return {"delivered": delivered}

    def _group(self, message: dict[str, Any]) -> str:
        """Return the folder of a job's cgroup: a job that is over is known to the agent alone."""
        job = self._state.jobs.get(message["id"])
        return job.group if job is not None else message.get("group", self._state.cgroups.group(message["id"]))

    def _signal_tree(self, group: str, number: int, swept: list[list[int]], init: list[int] | None) -> int:
        if init or not group:
            delivered = sum(send(number, pid, start) for pid, start in swept)
            if init and number == signal.SIGKILL:
                self.kill_init(*init)
                if group:
                    self._kill_group(group)
            return delivered
        if number == signal.SIGKILL:
            return self._kill_group(group)
        path = self._state.cgroups.path(group)
        return sum(send(number, pid, path) for pid in cgroupfs.members(group))

    def _kill_group(self, group: str) -> int:
        pids = cgroupfs.members(group)
        if pids:
            cgroupfs.kill(group)
            path = self._state.cgroups.path(group)
            for pid in cgroupfs.members(group):  # cgroup.kill misses a process whose first thread has ended
                send(signal.SIGKILL, pid, path)
        return len(pids)

    def kill_init(self, pid: int, start: int) -> None:
        """Have the kernel end all that is in a namespace; its init is gone when all others are."""
        if send(signal.SIGKILL, pid, start) and pid in self._state.inits:
            self._state.ending.add(pid)

    def freeze(self, message: dict[str, Any]) -> None:
        """Freeze the whole cgroup of a job, or thaw it."""
        try:
            cgroupfs.freeze(self._group(message), frozen=message["frozen"])
        except FileNotFoundError:
            if message["frozen"]:
                raise  # it was removed: there is nothing to thaw

    def release(self, message: dict[str, Any]) -> dict[str, Any]:
        """End the namespace of an ended job that left no process, and remove what is left of its groups."""
        if init := message.get("init"):
            self.kill_init(*init)
        return {"gone": self._state.remove_groups(message["id"], self._group(message))}


def send(number: int, pid: int, mark: int | str) -> bool:
    """Signal the process if it is the one meant: by its start in ticks, or by the cgroup it is in."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Looked at after pidfd_open: from now on the pid cannot become another process's unseen.
        same = start_of(pid) == mark if isinstance(mark, int) else f"{group_of(pid)}/".startswith(f"{mark}/")
        if same:
            signal.pidfd_send_signal(pidfd, number)
        return same
    except OSError:
        return False
    finally:
        os.close(pidfd)
