"""Fake jobs and events for the tests of a plugin: no process, no agent, no waiting."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from jobworker.interfaces import Exit, Job, JobEvent, JobSpec, Reason, State, rfc3339

STARTED = 1_900_000_000_000_000_000  # ns since 1970: a moment in 2030
ENDING = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGKILL")


def make_job(**changes: Any) -> Job:
    """Return a running job of `token:ann` as plugins get it, with some fields changed."""
    at = rfc3339(STARTED)
    spec = JobSpec(argv=["sleep", "1000"])
    job = Job(
        id="00test",
        name=None,
        state=State.RUNNING,
        owner="token:ann",
        pid=4711,
        created_at=at,
        started_at=at,
        spec=spec,
    )
    return replace(job, **changes)


def make_event(event: str = "exited", *, by: str | None = None, detail: str = "", **changes: Any) -> JobEvent:
    """Return an event as observers get it; `changes` are fields of its job. For `exited` it has ended with code 0."""
    if event == "exited":
        changes = {"state": State.EXITED, "exit": Exit(0, None, Reason.FINISHED), "pid": None} | changes
    job = make_job(**changes)
    return JobEvent(job.revision, rfc3339(STARTED), event, by, detail, job.summary())


@dataclass
class FakeJob:
    """A `JobHandle` without a process: the job ends when it gets a signal of `ends_on`, `after` seconds later.

    `ends_on` may be empty: no signal ends the job. `ends_when_run`: a command that the strategy runs ends it.
    The fake records what the strategy does: `signals` as (name, target), `asks` the arguments of `asked`,
    `commands` the argv of each command, `writes` the texts for its input. `ends_when_written`: a text ends it; None:
    it takes no input.
    """

    ends_on: Collection[str] = ENDING
    after: float = 0.0
    ends_when_run: bool = False
    ends_when_written: bool | None = False
    job: Job = field(default_factory=make_job)
    env: Mapping[str, str] = field(default_factory=lambda: {"PATH": "/usr/bin:/bin"})
    cwd: str = "/"
    signals: list[tuple[str, str]] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def over(self) -> bool:
        """Whether the whole tree is gone."""
        return self._over.is_set()

    def end(self) -> None:
        """End the job now, without a signal."""
        self._over.set()

    async def signal(self, name: str, target: str = "all") -> int:
        assert name in ENDING or name.startswith("SIG"), f"{name!r}; expected the name of a signal, as SIGTERM"
        assert target in ("all", "main"), f"{target!r}; expected all or main"
        self.signals.append((name, target))
        if self.over:
            return 0
        if name in self.ends_on:
            asyncio.get_running_loop().call_later(self.after, self.end)
        return 1

    async def asked(self, how: str) -> None:
        self.asks.append(how)

    async def write(self, text: str) -> None:
        if self.ends_when_written is None or self.over:
            raise BrokenPipeError("the job has no input")
        self.writes.append(text)
        if self.ends_when_written:
            self.end()

    async def wait(self, timeout: float | None = None) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    async def run(self, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> None:
        self.commands.append(list(argv))
        if self.ends_when_run:
            self.end()
