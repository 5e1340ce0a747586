"""Stops and limits by the hundred: who outlives a stop, a stop in the moment of a start, how late a limit is."""

import asyncio
import os
import random
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

from tests.support.blind import BLIND
from tests.torture.outcome import Outcome
from tests.torture.victim import LIMIT, Victim

from jobworker.client import Client
from jobworker.errors import InvalidState
from jobworker.model import Job, JobSpec, Reason, StopSpec

# Each leaves one process `sleep NUMBER` that has got away in its own manner.
ESCAPES = {
    "session of its own": "setsid sleep {0} &",
    "daemon, forked twice": "(setsid sh -c 'sleep {0} &' &);",
    "nohup": "nohup sleep {0} > /dev/null 2>&1 &",
    "ignores SIGTERM": "(trap '' TERM; sleep {0}) &",
    "stopped": "sleep {0} & sleep 0.05; kill -STOP $!;",
    "environment cleared": "env -i setsid sleep {0} &",
    "daemon, environment cleared": "(env -i setsid sh -c 'sleep {0} &' &);",
}


async def trees_are_stopped(path: Path, stops: int, *, blind: bool, namespace: bool = False) -> Outcome:
    """Stop trees of escape artists; count who is alive when the stop has answered."""
    method = "by a namespace" if namespace else "by a sweep" if blind else "by the best method that the host offers"
    outcome = Outcome(f"{stops} stops of a tree of {len(ESCAPES)} escape artists, {method}")
    survivors: Counter[str] = Counter()
    took: list[float] = []
    proofs: set[str] = set()
    under = BLIND if blind and os.geteuid() == 0 else []
    async with Victim(path, under=under) as victim, victim.agent.client() as client:
        for number in range(stops):
            numbers = {kind: f"{os.getpid()}{number:04}.{index}" for index, kind in enumerate(ESCAPES)}
            shell = " ".join(ESCAPES[kind].format(text) for kind, text in numbers.items()) + " echo up; wait"
            spec = JobSpec(shell=shell, stop=StopSpec(grace="200ms"), timeout=None, pid_namespace=namespace)
            job = await _up(client, spec, numbers)
            began = time.monotonic()
            stopped = await client.stop(job.id)
            took.append(time.monotonic() - began)
            proofs.add(stopped.exit.receipt.proof if stopped.exit and stopped.exit.receipt else "none")
            left = _sleepers()
            for kind, text in numbers.items():
                if pid := left.get(text):
                    survivors[kind] += 1
                    os.kill(pid, 9)
            outcome.kills += 1
    outcome.stray += sum(survivors.values()) if proofs == {"complete"} or namespace else 0
    outcome.notes.append("survivors: " + (", ".join(f"{kind} {n}" for kind, n in survivors.items()) or "none"))
    outcome.notes.append(f"from stop to proof: {_spread(took)}")
    return outcome


async def _up(client: Client, spec: JobSpec, numbers: dict[str, str]) -> Job:
    """Start a job and return it when all its processes are there."""
    job = await client.start((await client.create(spec)).id)
    async with asyncio.timeout(LIMIT):
        while not set(numbers.values()) <= _sleepers().keys():  # noqa: ASYNC110  # /proc sends no word
            await asyncio.sleep(0.005)
    return job


def _sleepers() -> dict[str, int]:
    """Return the pids of the processes `sleep NUMBER` by their number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 1 and words[0] == b"sleep":
            found[words[1].decode()] = int(entry.parent.name)
    return found


async def starts_and_stops_meet(path: Path, seed: int, jobs: int) -> Outcome:
    """Stop each job 0 to 50 ms after its start was asked for; each ends once, and its stop answers."""
    rng = random.Random(seed)
    outcome = Outcome(f"{jobs} starts with a stop 0 to 50 ms later (seed {seed})")
    ends: Counter[str] = Counter()
    async with Victim(path) as victim, victim.agent.client() as client:

        async def one(delay: float) -> None:
            job = await client.create(JobSpec(shell=f"echo ran >> {path}/ran; sleep 1000", timeout=None))
            starting = asyncio.create_task(client.start(job.id))
            await asyncio.sleep(delay)
            while True:
                try:
                    await client.stop(job.id)
                    break
                except InvalidState as error:  # not started yet: what would come to pass without a start
                    if error.data["state"] != "created":
                        break
                    await asyncio.sleep(0)
            await starting
            ended = await client.wait(job.id, LIMIT)
            assert ended.exit is not None
            ends[ended.exit.reason] += 1
            outcome.kills += 1
            outcome.stray += ended.exit.reason != Reason.STOPPED

        for _ in range(jobs // 20):
            await asyncio.gather(*(one(rng.uniform(0, 0.05)) for _ in range(20)))
        outcome.twice += max(0, (path / "ran").read_text().count("ran") - jobs)
    outcome.notes.append("ends: " + ", ".join(f"{count} {reason}" for reason, count in ends.items()))
    return outcome


async def limits_are_due_together(path: Path, jobs: int) -> Outcome:
    """Let the limits of many jobs be due within a second; print how late each was."""
    outcome = Outcome(f"{jobs} time limits due within one second")
    late: list[float] = []
    async with Victim(path) as victim, victim.agent.client() as client:
        created = [await client.create(JobSpec(argv=["sleep", "1000"], timeout=None)) for _ in range(jobs)]
        started = [await client.start(job.id) for job in created]
        now = time.clock_gettime(time.CLOCK_REALTIME) + 5
        due = {job.id: now + number / jobs for number, job in enumerate(started)}
        for job in started:
            began = _seconds(job.started_at)
            await client.call("job.update", id=job.id, timeout=due[job.id] - began)
        for job in started:
            ended = await client.wait(job.id, LIMIT)
            assert ended.exit is not None
            outcome.stray += ended.exit.reason != Reason.TIMEOUT
            late.append(_seconds(ended.exited_at) - due[job.id])
            outcome.kills += 1
    outcome.notes.append(f"the process is gone so late: {_spread(late)}")
    outcome.stray += min(late) < -0.01
    return outcome


def _seconds(text: str | None) -> float:
    return datetime.fromisoformat(text or "").timestamp()


def _spread(values: list[float]) -> str:
    values = sorted(values)
    return f"p50 {values[len(values) // 2] * 1000:.0f} ms, p99 {values[len(values) * 99 // 100] * 1000:.0f} ms"
