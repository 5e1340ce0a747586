"""The input of a job under kills of everything on its way, and many writers that send again at random cuts."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from pathlib import Path

from tests.torture import sender
from tests.torture.outcome import Outcome
from tests.torture.sender import LINE, lines
from tests.torture.victim import LIMIT, Victim, collect

from jobworker.client import Client
from jobworker.errors import InputGap, StdinClosed
from jobworker.model import Job, JobSpec

KILL_SECONDS = 0.25  # between two kills at most


class Sender:
    """The process that writes the input, as `jw` does."""

    def __init__(self, victim: Victim, job: Job, size: int, seconds: float) -> None:
        self._victim = victim
        self._arguments = [job.id, str(size), str(seconds)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        agent = self._victim.agent
        command = [sys.executable, sender.__file__, agent.address, str(agent.ca), *self._arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(agent.token.encode())
            self._process.stdin.close()

    def kill(self) -> bool:
        """Kill it, unless it has ended; return whether it had not."""
        assert self._process is not None
        if self._process.poll() is not None:
            return False
        self._process.kill()
        self._process.wait()
        return True

    def over(self) -> bool:
        """Whether it has sent everything; one that failed is replaced."""
        assert self._process is not None
        if self._process.poll() in (None, 0):
            return self._process.poll() == 0
        self.start()
        return False


async def input_under_kills(path: Path, seed: int, kills: int, size: int) -> Outcome:
    """Kill agent, pump, keeper and sender again and again, one at a time, under a job that gets its input."""
    outcome = Outcome(f"agent, pump, keeper or sender, killed under an input of {size / 1e6:g} MB (seed {seed})")
    chance = random.Random(seed)
    killed = dict.fromkeys(("agent", "keeper", "pump", "sender"), 0)
    async with Victim(path) as victim:
        async with victim.agent.client() as client:
            job = await client.start((await client.create(JobSpec(argv=["cat"], stdin="pipe", timeout=None))).id)
        writer = Sender(victim, job, size, kills * KILL_SECONDS)
        writer.start()
        while sum(killed.values()) < kills and not writer.over():
            await asyncio.sleep(chance.random() * KILL_SECONDS)
            name = chance.choice([*killed])
            if name == "sender":
                killed[name] += writer.kill()
                writer.start()
            else:
                killed[name] += victim.kill(name) > 0
            if name == "agent":
                outcome.back.append(await victim.start())
            await victim.served()
            await _held(victim, job)
        async with asyncio.timeout(LIMIT + kills * KILL_SECONDS):
            while not writer.over():  # noqa: ASYNC110  # a process sends no word
                await asyncio.sleep(0.05)
        async with victim.agent.client() as client:
            await victim.judge_exit(client, job, (0, None), outcome)
            outcome.silent += outcome.stream((await victim.log(client, job))["stdout"], size) > 0
    outcome.kills = sum(killed.values())
    outcome.notes.append(", ".join(f"{name} {count}" for name, count in killed.items()))
    return outcome


async def _held(victim: Victim, job: Job) -> None:
    """Return when the keeper has the input of the job, or the input has ended: only one of its holders may die."""
    spool = victim.agent.home.input / f"{job.id}.0"
    async with asyncio.timeout(LIMIT):
        while spool.exists() and not (_has(victim.pid("keeper"), spool) and _has(victim.pid("pump"), spool)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _has(pid: int | None, path: Path) -> bool:
    """Whether a process has a file open."""
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") == str(path) for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


async def writers_send_again(path: Path, seed: int, writers: int, size: int) -> Outcome:
    """Each writer sends pieces of its own job's input, some twice, some from before, some with a gap between."""
    outcome = Outcome(
        f"{writers} writers of {size} bytes that send again at random cuts (seed {seed})", kills=writers
    )
    chance = random.Random(seed)
    room = asyncio.Semaphore(20)

    async def one(client: Client, chance: random.Random) -> None:
        async with room:
            run = await client.run(JobSpec(argv=["cat"], stdin="pipe"))
            await _resend(client, run.job.id, chance, size, outcome)
            outcome.silent += outcome.stream((await collect(run))["stdout"], size) > 0

    async with Victim(path) as victim, victim.agent.client() as client:
        await asyncio.gather(*(one(client, random.Random(chance.random())) for _ in range(writers)))
    return outcome


async def _resend(client: Client, job: str, chance: random.Random, size: int, outcome: Outcome) -> None:
    data, end = lines(0, size // LINE), 0
    while end < size:
        begin = max(0, min(size, end + chance.randrange(-2000, 500)))
        piece = data[begin : begin + chance.randrange(1, 5000)].decode()
        try:
            answer = await client.call("stdin.write", id=job, data=piece, offset=begin)
            right = max(end, begin + len(piece))
            outcome.stray += answer != {"accepted": len(piece), "offset": right} or begin > end
            end = right
        except InputGap as error:
            outcome.stray += error.data["offset"] != end or begin <= end
    with contextlib.suppress(StdinClosed):
        await client.call("stdin.close", id=job, offset=size)
