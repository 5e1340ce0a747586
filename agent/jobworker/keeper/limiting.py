"""Change the limits of a job that runs. The kernel has them: they outlive keeper and agent."""

import os
from typing import Any

from jobworker.keeper.state import State

LIFT = {  # by kind: what takes a limit away, in v2 and in v1, in the order that the kernel accepts
    "memory": (
        (("memory.swap.max", "max"), ("memory.max", "max")),
        (("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", "-1")),
    ),
    "pids": ((("pids.max", "max"),), (("pids.max", "max"),)),
    "cpus": ((("cpu.max", "max"),), (("cpu.cfs_quota_us", "-1"),)),
}


class Limiting:
    """The operation `limit`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def limit(self, message: dict[str, Any]) -> dict[str, Any]:
        """Have `limits` hold: values by kind, None takes one away. `before` holds again if one is refused.

        Answer `gone` if the job is not held any more, `missing` with a kind that has no group for this job, or
        `refused` with the reason and `errno`: then nothing was changed.
        """
        job = self._state.jobs.get(message["id"])
        if job is None or job.ended:
            return {"gone": True}
        limits = message["limits"]
        for kind in limits:
            if not self._folder(job.id, kind):
                return {"missing": kind}
        more = 1 if job.init else 0
        try:
            self._set(job.id, limits, more)
        except OSError as error:
            before = message["before"]
            try:
                self._set(job.id, {kind: before.get(kind) for kind in limits}, more)
            except OSError:  # the first reason is the one to report
                pass
            return {"refused": _text(error), "errno": error.errno}
        return {}

    def _folder(self, job: str, kind: str) -> str:
        """Return the group of a job that has files of this kind; "" if it has none, which happens on v1."""
        root = self._state.limits.roots.get(kind)
        return f"{root}/{job}" if root and os.path.isdir(f"{root}/{job}") else ""

    def _set(self, job: str, limits: dict[str, Any], more: int) -> None:
        for kind, value in limits.items():
            folder = self._folder(job, kind)
            v1 = os.path.dirname(folder) != self._state.cgroups.root
            if kind == "io":
                _lift_io(folder)
            elif value is None:
                for name, text in LIFT[kind][v1]:
                    _write(f"{folder}/{name}", text)
            elif kind == "memory" and v1:
                _make_room(folder, value)
            if value is not None:
                self._state.limits.apply(job, {kind: value}, more=more)


def _text(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _lift_io(folder: str) -> None:
    """Take away what limits a group on any device."""
    with open(f"{folder}/io.max") as file:
        devices = [line.split()[0] for line in file]
    for device in devices:
        _write(f"{folder}/io.max", f"{device} rbps=max wbps=max riops=max wiops=max")


def _make_room(folder: str, limit: int) -> None:
    """Have v1 accept a higher limit of memory: the one with swap may never be below it."""
    path = f"{folder}/memory.memsw.limit_in_bytes"
    try:
        with open(path) as file:
            now = int(file.read())
    except FileNotFoundError:
        return  # a kernel that does not count swap
    if now < limit:
        _write(path, str(limit))


def _write(path: str, text: str) -> None:
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(text.encode())
    except FileNotFoundError:
        if os.path.basename(path) not in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
            raise
    except OSError as error:
        raise OSError(error.errno, f"write {text} to {path}: {error.strerror}") from error
