"""Readers whose connections are torn, and readers who come in the moment of an exit: what each of them was told."""

import asyncio
import random
import sys
from abc import abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any

from tests.torture import chatter
from tests.torture.outcome import Outcome
from tests.torture.raw import Raw, Torn, reset
from tests.torture.victim import LIMIT, Victim
from tests.torture.writer import LINE, lines

from jobworker.client import Client, connect
from jobworker.model import Job, JobSpec, LogSpec
from jobworker.protocol import BINARY_SUBPROTOCOL, STREAMS, SUBPROTOCOL

PAUSE = 0.002
BOUND = 65536
FARTHEST = 150_000  # bytes after which a connection is torn at the latest
CODE = 7
AT_ONCE = 20
APART = 0.02  # seconds


async def connections_are_cut(path: Path, seed: int, cuts: int, kills: int) -> Outcome:
    """Tear connections at random bytes and kill the agent now and then, while two jobs write.

    One has a log so small that who was away missed some of it; the other writes both streams.
    """
    outcome = Outcome(f"connections, torn {cuts} times, and the agent, killed {kills} times (seed {seed})")
    chance = random.Random(seed)
    async with Victim(path) as victim:
        async with victim.agent.client() as client:
            small = await _chatter(client, path, "1", LogSpec(max_bytes=BOUND))
            both = await _chatter(client, path, "12", None)
        told = [
            kind(victim, job, random.Random(chance.random()), outcome)
            for job in (small, both)
            for kind in (ByLibrary, ByText, ByBinary)
        ]
        following = asyncio.gather(*(one.follow() for one in told))
        for number in range(1, kills + 2):
            goal = cuts * number // (kills + 1)
            async with asyncio.timeout(LIMIT * 5):
                while sum(one.cuts for one in told) < goal and not following.done():  # noqa: ASYNC110  # it is no event
                    await asyncio.sleep(0.005)
            if number <= kills:
                victim.kill("agent")
                outcome.back.append(await victim.start())
        (path / "stop").touch()
        async with asyncio.timeout(LIMIT):
            await following
        outcome.kills = sum(one.cuts for one in told)
        async with victim.agent.client() as client:
            for one in told:
                one.judge(await client.wait(one.job.id, LIMIT))
    gaps = ", ".join(f"{one.label} {len(one.gaps)}" for one in told)
    outcome.notes.append(f"resumed {sum(one.resumed for one in told)} times; gaps told: {gaps}")
    return outcome


async def _chatter(client: Client, path: Path, streams: str, log: LogSpec | None) -> Job:
    argv = [sys.executable, "-I", "-S", chatter.__file__, streams, str(PAUSE), str(path / "stop")]
    return await client.start((await client.create(JobSpec(argv=argv, timeout=None, log=log or LogSpec()))).id)


class Told:
    """One reader: what it was told, held against what the job wrote as it comes."""

    label = ""

    def __init__(self, victim: Victim, job: Job, chance: random.Random, outcome: Outcome) -> None:
        self.victim = victim
        self.job = job
        self.offset = 0
        self.gaps: list[tuple[int, int]] = []
        self.ends: list[dict[str, Any]] = []
        self.cuts = 0
        self.resumed = 0
        self._chance = chance
        self._outcome = outcome
        self._at: list[int] | None = [0, 0]  # in each stream; of no use after a gap of two

    @abstractmethod
    async def follow(self) -> None:
        """Return when the end was told."""

    def soon(self) -> int:
        """Return after how many bytes to tear the next connection; none once the job was told to stop."""
        return self._chance.randrange(FARTHEST)

    @property
    def over(self) -> bool:
        return (self.victim.path / "stop").exists()

    def data(self, offset: int, stream: str, data: bytes) -> None:
        self._outcome.written += len(data)
        self._outcome.lost += max(0, offset - self.offset)
        self._outcome.doubled += max(0, self.offset - offset)
        self.offset = offset + len(data)
        assert self._at is not None
        at = self._at[STREAMS.index(stream)]
        first = at // LINE
        right = lines(first, len(data) // LINE + 2)[at % LINE :][: len(data)]
        self._outcome.reordered += data != right
        self._at[STREAMS.index(stream)] += len(data)

    def gap(self, start: int, end: int) -> None:
        self._outcome.lost += max(0, start - self.offset)
        self._outcome.doubled += max(0, self.offset - start)
        self.gaps.append((start, end))
        self.offset = end
        assert self._at is not None
        self._at[0] += end - start

    def judge(self, ended: Job) -> None:
        """Compare the end, and what is said to be gone, with the job."""
        (end,) = self.ends if len(self.ends) == 1 else [{}]
        assert ended.exit is not None
        right = end.get("offset") == self.offset == ended.log.bytes and ended.log.bytes % (chatter.BLOCK * LINE) == 0
        self._outcome.silent += not right
        self._outcome.statuses["exact" if (end.get("exit") or {}).get("code") == CODE else "invented"] += 1
        self._outcome.stray += any(to > ended.log.first_offset for _, to in self.gaps)  # they are there


class ByLibrary(Told):
    """Resumes as the client library does, in binary frames."""

    label = "library"

    async def follow(self) -> None:
        agent = self.victim.agent
        async with connect(agent.address, token=agent.token, ca=agent.ca) as client:
            subscription = await client.subscribe(self.job.id)
            left, gaps = self.soon(), 0
            async for chunk in subscription:
                for gap in subscription.gaps[gaps:]:
                    self.gap(gap.from_, gap.to)
                gaps = len(subscription.gaps)
                self.data(chunk.offset, chunk.stream, chunk.data)
                left -= len(chunk.data)
                if left < 0 and not self.over and self._cut(client):
                    left = self.soon()
            for gap in subscription.gaps[gaps:]:
                self.gap(gap.from_, gap.to)
            if (end := subscription.end) is not None:
                self.ends.append({"offset": end.offset, "exit": {"code": end.exit.code if end.exit else None}})

    def _cut(self, client: Client) -> bool:
        """Tear the client's connection; return False while it has none."""
        connection = client.connection._websocket
        if connection is None or connection.transport.is_closing():
            return False
        reset(connection.transport)
        self.cuts += 1
        self.resumed += 1
        return True


class ByText(Told):
    """Asks for the byte after the last one it has, and tears its connection in the middle of whatever comes."""

    label = "text"
    subprotocol = SUBPROTOCOL

    async def follow(self) -> None:
        while not self.ends:
            raw = Raw(self.victim.agent, self.subprotocol, None if self.over else self.soon())
            try:
                await raw.open()
                number = await raw.ask("log.subscribe", id=self.job.id, offset=self.offset)
                while not self.ends:
                    self._take(await raw.hear(), number)
            except Torn:
                self.cuts += raw.torn
                await asyncio.sleep(0 if raw.torn else 0.02)  # else the agent is away
            finally:
                raw.close()

    def _take(self, message: dict[str, Any], number: int) -> None:
        if message.get("id") == number:
            assert message["result"]["offset"] == self.offset, message
            self.resumed += 1
            return
        params = message["params"]
        if message["method"] == "log.data":
            self.data(params["offset"], params["stream"], params["bytes"])
        elif message["method"] == "log.gap":
            self.gap(params["from"], params["to"])
        else:
            self.ends.append(params)


class ByBinary(ByText):
    """The same in binary frames."""

    label = "binary"
    subprotocol = BINARY_SUBPROTOCOL


async def subscriptions_meet_exits(path: Path, seed: int, count: int) -> Outcome:
    """Subscribe up to 20 ms before or after the moment in which a job may end."""
    outcome = Outcome(f"{count} subscriptions within {APART * 1000:g} ms of an exit (seed {seed})")
    chance = random.Random(seed)
    states: Counter[str] = Counter()
    async with Victim(path) as victim, victim.agent.client() as client:
        raws = [Raw(victim.agent, subprotocol) for subprotocol in (SUBPROTOCOL, BINARY_SUBPROTOCOL)]
        for raw in raws:
            await raw.open()
        for number in range(0, count, AT_ONCE):
            jobs = [await victim.waiting(client, f"echo last; exit {code}") for code in range(1, AT_ONCE + 1)]
            await _let_go(victim, raws[number // AT_ONCE % 2], jobs, chance, outcome, states)
        for raw in raws:
            raw.close()
    outcome.notes.append("when the subscription was answered: " + ", ".join(f"{n} {s}" for s, n in states.items()))
    return outcome


async def _let_go(
    victim: Victim, raw: Raw, jobs: list[Job], chance: random.Random, outcome: Outcome, states: Counter[str]
) -> None:
    """Let these jobs end, subscribe to each about then, and hear all of it."""
    asked: dict[int, str] = {}

    async def subscribe(job: Job, delay: float) -> None:
        await asyncio.sleep(delay)
        asked[await raw.ask("log.subscribe", id=job.id)] = job.id

    async def let() -> None:
        await asyncio.sleep(APART)
        victim.let(len(jobs))

    tasks = [asyncio.create_task(subscribe(job, chance.uniform(0, 2 * APART))) for job in jobs]
    tasks.append(asyncio.create_task(let()))
    names: dict[str, str] = {}
    said = {job.id: b"" for job in jobs}
    ends: dict[str, list[dict[str, Any]]] = {job.id: [] for job in jobs}
    async with asyncio.timeout(LIMIT):
        while not all(ends.values()):
            message = await raw.hear()
            if "id" in message:
                names[message["result"]["subscription"]] = asked[message["id"]]
                states["before the end" if not tasks[-1].done() else "after the gate was opened"] += 1
            elif message["method"] == "log.data":
                said[names[message["params"]["subscription"]]] += message["params"]["bytes"]
            else:
                ends[names[message["params"]["subscription"]]].append(message["params"])
        await asyncio.gather(*tasks)
        pong = await raw.ask("agent.ping")
        while (late := await raw.hear()).get("id") != pong:  # nothing comes after the end
            outcome.stray += 1
            assert "method" in late, late
    for code, job in enumerate(jobs, 1):
        outcome.kills += 1
        outcome.written += len(said[job.id])
        outcome.silent += said[job.id] != b"last\n" or ends[job.id][0]["offset"] != len(b"last\n")
        outcome.twice += len(ends[job.id]) > 1
        exited = ends[job.id][0]["exit"] or {}
        outcome.statuses["exact" if (exited.get("code"), exited.get("signal")) == (code, None) else "invented"] += 1
