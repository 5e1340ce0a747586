"""The interface between the agent and an executor: a plugin's way to run jobs by another engine, as on a cluster.

The engine knows where a job is; only the job's folder, which the runner writes, has what happened to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from jobworker.errors import JobworkerError


class Phase(StrEnum):
    """What an engine believes of a job; never the job's result."""

    QUEUED = "queued"
    RUNNING = "running"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Sighting:
    """What an engine reports of a job.

    `reason` is the engine's own word ("Resources", "NODE_FAIL"); `starts` is when it expects the job to start, in
    seconds since 1970. `exit_code` and `signal` are hints, used only if the job's folder has no exit.
    """

    phase: Phase
    node: str = ""
    reason: str = ""
    starts: float | None = None
    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True)
class Need:
    """What a job needs: CPUs, bytes of memory, seconds until the engine may end it; None: not limited.

    `uid`, `gid` and `groups` are the user it runs as; None: the agent's own.
    """

    cpus: float | None = None
    memory: int | None = None
    seconds: float | None = None
    uid: int | None = None
    gid: int | None = None
    groups: Sequence[int] = ()


class ExecutorUnavailable(JobworkerError):
    """The engine did not answer: what was asked of it may have happened or not."""


class Executor(Protocol):
    """Runs jobs by an engine. `tag` is what identifies a job: engines use their own ids again.

    `kill_grace` is the seconds between the engine's SIGTERM and its SIGKILL, `users` whether it can start jobs as
    another user than the agent's. `folder` is a shared folder in which the agent makes one folder for each job, and
    `python` the interpreter that executes the runner on the nodes.
    """

    name: str
    kill_grace: float
    users: bool
    folder: str
    python: str

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError, with what was expected, for options that cannot be used."""

    async def submit(
        self, tag: str, command: Sequence[str], folder: str, need: Need, options: Mapping[str, Any]
    ) -> str:
        """Have the engine run the command for the job of this folder; return the engine's id.

        Raise StartError, with the engine's words, if it refuses the job for good, and ExecutorUnavailable if it is
        not known whether it took it: then the agent asks `find`.
        """

    async def find(self, prefix: str) -> Mapping[str, str]:
        """Return the engine's ids of all its jobs whose tag begins with the prefix, by tag."""

    async def poll(self, jobs: Mapping[str, str]) -> Mapping[str, Sighting]:
        """Return what the engine knows of the jobs, given as its ids by tag: one request to it for all.

        A job of which it knows nothing is absent. Raise ExecutorUnavailable if it does not answer.
        """

    async def ring(self, tag: str, engine_id: str) -> None:
        """Send SIGUSR2 to the runner, which then looks for a request of the agent; it may do nothing."""

    async def cancel(self, tag: str, engine_id: str) -> None:
        """End the job by the engine's own means: the last resort."""
