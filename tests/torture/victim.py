"""An agent with its keeper and pump that are killed, and jobs whose bytes and ends are known beforehand."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import DEADLINE, RunningAgent
from tests.torture import writer
from tests.torture.outcome import Outcome

from jobworker.client import Client
from jobworker.client.local import wait_gone
from jobworker.client.subscription import Subscription
from jobworker.errors import JobworkerError
from jobworker.linux import features
from jobworker.model import Job, JobSpec, State
from jobworker.paths import Home

WRITER = Path(writer.__file__)
End = tuple[int | None, str | None]  # the exit code or the name of the signal
LIMIT = DEADLINE  # seconds until something that should happen counts as not happening
# An agent whose keeper cannot ask the kernel for the status of a process that is not its child, nor gets word of its
# reaping: as on a kernel before 6.9.
UNASKING = f"""
import os, sys
os.environ["{features.WITHOUT}"] = "pidfd_info,pidfd_hangup"
from jobworker.__main__ import main
main(sys.argv[1:])
"""


class Victim:
    """The agent as others see it, and its processes as a killer does."""

    def __init__(self, path: Path, *, asking: bool = True, under: Sequence[str] = (), config: str = "") -> None:
        self.path = path
        self.agent = RunningAgent(Home(path / "home"), config, under=list(under))
        if not asking:
            self.agent.program = ["-c", UNASKING]
        self.gate = path / "gate"
        path.mkdir(parents=True)
        os.mkfifo(self.gate)
        self._gate = os.open(self.gate, os.O_RDWR | os.O_CLOEXEC)
        self._reports: dict[str, Path] = {}

    async def __aenter__(self) -> "Victim":
        self.agent.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.agent.clean()
        os.close(self._gate)

    # Its processes

    def pid(self, name: str) -> int | None:
        """Return the pid of the agent, the keeper or the pump, where there is one."""
        if name == "agent":
            return self.agent.pid if self.agent.process and self.agent.process.poll() is None else None
        folder = os.fsencode(self.agent.home.path if name == "keeper" else self.agent.home.logs)
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                if len(words) > 4 and words[3].endswith(f"{name}/__main__.py".encode()) and words[4] == folder:
                    return int(entry)
        return None

    async def until(self, name: str, *, other_than: int = 0) -> int:
        """Return the pid of the process as soon as there is one, other than a dead one."""
        async with asyncio.timeout(LIMIT):
            while (pid := self.pid(name)) is None or pid == other_than:  # noqa: ASYNC110  # /proc sends no word
                await asyncio.sleep(0.002)
        return pid

    def kill(self, name: str) -> int:
        """Kill a process and see it gone; return its pid, 0 where there was none."""
        if (pid := self.pid(name)) is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if name == "agent":
            assert self.agent.process is not None
            self.agent.process.wait()
        else:
            assert wait_gone(pid, LIMIT)
        return pid

    async def start(self) -> float:
        """Start the agent again; return the seconds until it has answered."""
        began = time.monotonic()
        await asyncio.to_thread(self.agent.start)
        async with self.agent.client() as client:
            await client.call("agent.ping")
        return time.monotonic() - began

    # Its jobs

    async def write(self, client: Client, size: int, seconds: float) -> Job:
        """Start a job that writes `size` bytes to each stream over some seconds."""
        report = self.path / f"report{len(self._reports)}"
        argv = [sys.executable, "-I", "-S", str(WRITER), str(size), str(seconds), str(report)]
        job = await client.start((await client.create(JobSpec(argv=argv, timeout=None))).id)
        self._reports[job.id] = report
        return job

    async def waiting(self, client: Client, end: str) -> Job:
        """Start a job that ends as the shell says when the gate lets it through."""
        spec = JobSpec(shell=f"read _ < {self.gate}; {end}", timeout=None)
        return await client.start((await client.create(spec)).id)

    def let(self, count: int) -> None:
        os.write(self._gate, b"\n" * count)

    async def ended(self, jobs: list[Job]) -> None:
        """Return when the processes of these jobs are gone."""
        for job in jobs:
            assert job.pid is not None
            assert await asyncio.to_thread(wait_gone, job.pid, LIMIT)

    async def judge_writer(self, client: Client, job: Job, size: int, outcome: Outcome) -> None:
        """Compare log and end of a job that wrote with what they should be."""
        ended = await self.judge_exit(client, job, (0, None), outcome)
        said = await self.log(client, job)
        short = sum(outcome.stream(said[stream], size) for stream in ("stdout", "stderr"))
        outcome.marked += ended.log.truncated
        outcome.silent += bool(short) and not ended.log.truncated
        outcome.stall = max(outcome.stall, float(self._reports[job.id].read_text()))

    async def judge_exit(self, client: Client, job: Job, right: End, outcome: Outcome) -> Job:
        """Count whether the end of a job is exact, lost, or invented."""
        ended = await client.wait(job.id, LIMIT)
        assert ended.exit is not None
        if ended.state == State.LOST:
            outcome.statuses["lost" if (ended.exit.code, ended.exit.signal) == (None, None) else "invented"] += 1
        else:
            outcome.statuses["exact" if (ended.exit.code, ended.exit.signal) == right else "invented"] += 1
        return ended

    async def log(self, client: Client, job: Job) -> dict[str, bytes]:
        return await collect(await client.subscribe(job.id))

    async def served(self) -> None:
        """Return when the agent answers and has a keeper."""
        async with asyncio.timeout(LIMIT):
            while True:
                with contextlib.suppress(JobworkerError):
                    async with self.agent.client() as client:
                        if (await client.call("agent.info"))["keeper"]["pid"] == self.pid("keeper"):
                            return
                await asyncio.sleep(0.01)


async def collect(subscription: Subscription) -> dict[str, bytes]:
    """Return both streams of a log when it has ended."""
    parts: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    async for chunk in subscription:
        parts[chunk.stream].append(chunk.data)
    return {stream: b"".join(data) for stream, data in parts.items()}
