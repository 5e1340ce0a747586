"""Models run jobs over `jw mcp` while its server, the agent and the keeper are killed at random."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from tests.torture.outcome import Outcome
from tests.torture.victim import LIMIT, WRITER, Victim

from jobworker.client.local import agent_pid, wait_gone

MOST = 16 << 10  # bytes of an answer, as text and as structured content
MODELS = 3  # each with a server of its own
AT_ONCE = 6  # jobs of a model
SIZE = 40_000  # bytes that a job writes to each stream
PIECES = [f"piece {number} ".encode() * 50 + b"\n" for number in range(4)]
TARGETS = [["server"], ["server"], ["agent"], ["keeper"], ["server", "agent"], ["agent", "keeper"]]
Value = dict[str, Any]


class Host:
    """The program of an AI agent: it starts a server, and another when that dies, and sends its calls again."""

    def __init__(self, victim: Victim, name: str, outcome: Outcome) -> None:
        self._victim = victim
        self._outcome = outcome
        self._pid_file = victim.path / f"{name}.pid"
        self._client: Client | None = None  # None: there is no server at present
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator["Host"]:
        serving = asyncio.create_task(self._serve())
        try:
            yield self
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _serve(self) -> None:
        """Keep a server, in one task: its streams belong to the task that opens them."""
        server = StdioServerParameters(
            command="sh",
            args=["-c", f'echo $$ > {self._pid_file}; exec "$0" -m jobworker_cli mcp', sys.executable],
            env={"JOBWORKER_HOME": str(self._victim.agent.home.path)},
        )
        log = self._victim.path / f"{self._pid_file.stem}.log"
        while True:
            with contextlib.suppress(Exception), log.open("a") as stderr:
                async with Client(stdio_client(server, stderr), read_timeout_seconds=LIMIT) as client:
                    self._client = client
                    self._changed.set()
                    while self._client is client:
                        self._changed.clear()
                        await self._changed.wait()

    async def call(self, tool: str, **arguments: Any) -> Value:
        """Return the structured answer; call again if the server or the agent died before it came."""
        async with asyncio.timeout(4 * LIMIT):
            while True:
                while (client := self._client) is None:
                    await self._changed.wait()
                    await asyncio.sleep(0)
                try:
                    result = await client.call_tool(tool, arguments)
                except Exception:
                    if self._client is client:
                        self._client = None
                        self._changed.set()
                    await asyncio.sleep(0.05)
                    continue
                value = self._checked(result)
                if "error" not in value:
                    return value
                # Only a lost connection may be an answer.
                assert "code" not in value["error"], (
                    f"{value}\n{self._victim.agent.home.agent_log.read_text()[-4000:]}"
                )
                await asyncio.sleep(0.1)

    def _checked(self, result: Any) -> Value:
        text = result.content[0].text.encode()
        value: Value = result.structured_content
        structured = json.dumps(value, ensure_ascii=False).encode()
        self._outcome.oversized += max(len(text), len(structured)) > MOST
        return value

    async def ended(self, job: str) -> Value:
        """Return a job when it has ended."""
        while (value := await self.call("wait", job=job, wait_seconds=5))["state"] not in ("exited", "lost"):
            pass
        return value

    async def output(self, job: str, stream: str = "both") -> bytes:
        """Return all that an ended job has written, page by page."""
        parts, offset, complete = [], 0, False
        while not complete:
            page = await self.call("read", job=job, offset=offset, stream=stream)
            parts.append(page["text"].encode())
            offset, complete = page["next"], page["complete"]
        return b"".join(parts)

    def kill(self) -> int:
        """Kill the server; return whether there was one."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(self._pid_file.read_text()), signal.SIGKILL)
            return 1
        return 0


class Case:
    """One job of a model, whose bytes and end are known beforehand."""

    def __init__(self, host: Host, victim: Victim, number: int, outcome: Outcome) -> None:
        self._host = host
        self._folder = victim.path
        self._outcome = outcome
        self._number = number
        self._code = number % 200
        self._ran = victim.path / f"ran{number}"
        self.job = ""

    async def run(self) -> None:
        kinds = (self._writes, self._is_stopped, self._echoes)
        await kinds[self._number % len(kinds)]()
        self._outcome.twice += self._times() > 1

    def _times(self) -> int:
        """Return how often the command ran: not at all if the keeper died in its launch, and the job is lost."""
        return self._ran.read_text().count("ran") if self._ran.exists() else 0

    async def _start(self, command: str, **arguments: Any) -> str:
        """Run a command, twice: the second call, with the same key, must find the first."""
        line = f"echo ran >> {self._ran}; {command}"
        calls = [
            await self._host.call("run", command=line, key=f"job {self._number}", wait_seconds=wait, **arguments)
            for wait in (random.random(), 0)
        ]
        self.job = calls[0]["job"]
        self._outcome.twice += calls[1]["job"] != self.job
        return self.job

    def _judge_code(self, ended: Value, right: tuple[int | None, str | None]) -> bool:
        """Count whether the end is exact, lost or invented; return whether the command ran."""
        end = ended["exit"]
        got = (end["code"], end["signal"])
        how = "exact" if got == right else "lost" if got == (None, None) else "invented"
        self._outcome.statuses[how] += 1
        return how != "lost" or self._times() > 0

    async def _writes(self) -> None:
        report = self._folder / f"report{self._number}"
        job = await self._start(f"{sys.executable} -I -S {WRITER} {SIZE} 1.0 {report}; exit {self._code}")
        ran = self._judge_code(await self._host.ended(job), (self._code, None))
        for stream in ("stdout", "stderr") if ran else ():
            self._outcome.stream(await self._host.output(job, stream), SIZE)

    async def _echoes(self) -> None:
        job = await self._start(f"cat; exit {self._code}", stdin=True)
        offset = 0
        for number, piece in enumerate(PIECES):
            end = number == len(PIECES) - 1
            written = await self._write(job, piece, offset, end=end)
            offset += len(piece)
            if not written:
                break
        ended = await self._host.ended(job)
        if not self._judge_code(ended, (self._code, None)):
            return
        right, got = b"".join(PIECES), await self._host.output(job)
        self._outcome.written += len(right)
        self._outcome.lost += len(right) - len(got) if right.startswith(got) else 0
        self._outcome.doubled += 0 if right.startswith(got) else len(got)

    async def _write(self, job: str, piece: bytes, offset: int, *, end: bool) -> bool:
        """Write a piece; return False if the input has ended: by a call whose answer was lost, or with the job."""
        try:
            await self._host.call("write", job=job, text=piece.decode(), offset=offset, end=end)
        except AssertionError as error:
            if "stdin_closed" not in str(error):
                raise
            return False
        return True

    async def _is_stopped(self) -> None:
        job = await self._start("trap '' TERM; sleep 1000 & setsid sleep 1000 & echo up; wait; sleep 1000")
        value: Value = {"state": "running", "output": {"text": ""}}
        while not value["output"]["text"] and value["state"] != "lost":
            value = await self._host.call("wait", job=job, wait_seconds=0.2)
        stopped = await self._host.call("stop", job=job, grace_seconds=0.2)
        self._outcome.stray += len(stopped["processes_left"]) + len(processes_of({job}))
        self._judge_code(stopped, (None, "SIGKILL"))


def processes_of(jobs: set[str]) -> list[int]:
    """Return the processes that carry the marker of one of these jobs."""
    marks = {f"JOBWORKER_JOB_ID={job}".encode() for job in jobs}
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if marks & set(Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")):
                found.append(int(entry))
    return found


async def jobs_under_kills(path: Path, seed: int, jobs: int) -> Outcome:
    """Have models run, write to, stop and read jobs while a server, the agent or the keeper is killed."""
    outcome = Outcome(f"server, agent and keeper, killed under {jobs} jobs of {MODELS} models (seed {seed})")
    chance = random.Random(seed)
    async with Victim(path) as victim, contextlib.AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(Host(victim, f"m{n}", outcome).served()) for n in range(MODELS)]
        cases = [Case(hosts[number % MODELS], victim, number, outcome) for number in range(jobs)]
        killing = asyncio.create_task(_kill(victim, hosts, chance, outcome))
        gates = [asyncio.Semaphore(AT_ONCE) for _ in hosts]

        async def run(number: int) -> None:
            async with gates[number % MODELS]:
                await cases[number].run()

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(jobs):
                    group.create_task(run(number))
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
        ids = {case.job for case in cases}
        outcome.stray += len(processes_of(ids))
        outcome.twice += abs(await _count(hosts[0]) - jobs)
        outcome.notes.append(
            f"run twice {outcome.twice}, processes left {outcome.stray}, answers over 16 KiB {outcome.oversized}"
        )
    return outcome


async def _count(host: Host) -> int:
    """Return how many jobs there are."""
    count, cursor = 0, ""
    while True:
        page = await host.call("list", limit=100, cursor=cursor)
        count, cursor = count + len(page["jobs"]), page["next"] or ""
        if not cursor:
            return count


async def _kill(victim: Victim, hosts: list[Host], chance: random.Random, outcome: Outcome) -> None:
    """Kill something about every second, until cancelled."""
    while True:
        await asyncio.sleep(1 + chance.random())
        for name in chance.choice(TARGETS):
            if name == "server":
                outcome.kills += chance.choice(hosts).kill()
                continue
            pid = agent_pid(victim.agent.home) if name == "agent" else victim.pid(name)
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                outcome.kills += await asyncio.to_thread(wait_gone, pid, LIMIT)
