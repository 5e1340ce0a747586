"""Everything that a client can send and should not: each case beside a good user who must not notice."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.hostile.handshakes import WRONG, frames, upgrades
from tests.hostile.messages import garbage, odd_params, request
from tests.hostile.outcome import Outcome, quantile
from tests.hostile.raw import LIMIT, PING, PONG, TEXT, Raw, frame, junk
from tests.hostile.target import Good, Target

from jobworker.protocol import MAX_BATCH
from jobworker.server import methods
from jobworker.server.dispatch import METHODS

__all__ = ["attack", "methods"]  # importing the methods registers them

QUIET = 5.0  # seconds for which the good user is watched alone
PAUSE = 0.05  # seconds for which the loop may stand still, on a quiet machine
FAULTS = {50001, -32603}  # codes of which none is the caller's doing

UNFINISHED = {"frames without an upgrade", "empty lines"}  # requests: more might come


class Corpus:
    """Runs cases, and knows how long each took and when, to find what was under way when somebody waited."""

    def __init__(self, target: Target, token: str, *, short: bool) -> None:
        self.target = target
        self.token = token
        self.short = short
        self.times: list[tuple[str, float, float, bool]] = []  # name, begin, seconds, whether it waits on purpose

    def require(self, held: bool, otherwise: str) -> None:
        self.target.outcome.require(held, otherwise)

    @asynccontextmanager
    async def case(self, name: str, *, waits: bool = False) -> AsyncIterator[None]:
        """Time what is within; `waits`: it is to take its time, or is very many."""
        self.target.outcome.cases += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(4 * LIMIT):
                yield
        except Exception as error:
            self.target.outcome.broken.append(f"{name}: {error!r}")
        self.times.append((name, began, time.monotonic() - began, waits))

    def under_way(self, moment: float) -> str:
        """Return the cases that were under way."""
        names = [name for name, began, took, _ in self.times if began <= moment <= began + took]
        return ", ".join(names[:3]) or "nothing"

    # At the port

    async def ports(self) -> None:
        agent = self.target.agent
        plain = f"GET /rpc HTTP/1.1\r\nHost: 127.0.0.1:{agent.port}\r\nUpgrade: websocket\r\n\r\n".encode()
        hello = bytes.fromhex("16030100c8010000c40303") + junk(60)
        for name, data in {
            "HTTP without TLS": plain,
            "a line": b"hello\r\n",
            "64 kB of junk": junk(65536),
            "a megabyte of zeros": bytes(1 << 20),
            "SSL 2": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0"),
            "a TLS record of 64 kB": b"\x16\x03\x01\xff\xff" + junk(65535),
            "an alert": bytes.fromhex("15030300020100"),
            "an SSH greeting": b"SSH-2.0-x\r\n",
        }.items():
            async with self.case(f"at the TLS port: {name}", waits=True):
                raw = await Raw.open(agent, tls=False)
                await raw.say(data)
                await raw.end()
        many = 50 if self.short else 300
        for name, data in {"nothing": b"", "half a ClientHello": hello, "one byte": b"\x16"}.items():
            async with self.case(f"{many} half-open TLS handshakes: {name}", waits=True):
                raws = [await Raw.open(agent, tls=False) for _ in range(many)]
                for raw in raws:
                    await raw.say(data)
                await asyncio.gather(*(raw.end() for raw in raws))
        async with self.case(f"{many} connections that are dropped at once", waits=True):
            for _ in range(many):
                (await Raw.open(agent, tls=False)).drop()
        async with self.case(f"{many} TLS handshakes that are dropped at once", waits=True):
            for _ in range(many):
                (await Raw.open(agent)).drop()

    # At the upgrade

    async def upgrades(self) -> None:
        for name, send, right in upgrades(self.target, self.token):
            async with self.case(f"upgrade: {name}", waits=name in UNFINISHED):
                raw = await Raw.open(self.target.agent)
                status = await send(raw)
                self.require(status in right, f"upgrade: {name}: {status}; expected one of {sorted(right)}")
                raw.drop()
        many = 10 if self.short else 60
        async with self.case(f"{many} requests of which a byte comes now and then", waits=True):
            await asyncio.gather(*(self._loris() for _ in range(many)))

    async def _loris(self) -> None:
        raw = await Raw.open(self.target.agent)
        for byte in itertools.cycle(b"GET /rpc HTTP/1.1\r\nX: y\r\n"):
            await raw.say(bytes([byte]))
            try:
                async with asyncio.timeout(0.5):
                    if not await raw.reader.read(1):
                        raw.drop()
                        return
            except TimeoutError:
                pass

    # In frames

    async def frames(self) -> None:
        for name, data, right in frames():
            for who, token in (("a stranger", None), ("somebody", self.token)):
                async with self.case(f"frames of {who}: {name}"):
                    raw = await Raw.upgraded(self.target.agent, token)
                    await raw.say(data)
                    code = await raw.closed()
                    allowed = right | ({1008, 0} if token is None else set())
                    self.require(code in allowed, f"frames of {who}: {name}: closed with {code}; expected {allowed}")
                    raw.drop()
        await self.fragments()
        await self.floods()

    async def fragments(self) -> None:
        ping = json.dumps(request("agent.ping"))
        text = (ping + " " * (10_000 - len(ping))).encode()
        pieces = [frame(0 if n else TEXT, text[n : n + 1], fin=n == 9999) for n in range(10_000)]
        async with self.case("a message in 10,000 fragments"):
            raw = await Raw.upgraded(self.target.agent, self.token)
            await raw.say(b"".join(pieces))
            answer = await raw.answer()
            self.require(answer == 1009 or "result" in answer, f"a message in 10,000 fragments: {answer}")
            raw.drop()
        many = 100_000 if self.short else 2_000_000
        for who, token in (("a stranger", None), ("somebody", self.token)):
            async with self.case(f"{many} empty fragments of {who}", waits=True):
                raw = await Raw.upgraded(self.target.agent, token)
                await raw.say(frame(TEXT, b"{", fin=False))
                await self._pour(raw, frame(0, b"", fin=False), many)
                raw.drop()

    async def floods(self) -> None:
        many = 20_000 if self.short else 300_000
        for who, token in (("a stranger", None), ("somebody", self.token)):
            async with self.case(f"{many} pings of {who}", waits=True):
                raw = await Raw.upgraded(self.target.agent, token)
                heard = asyncio.create_task(raw.end())
                await self._pour(raw, frame(PING, b"x" * 125), many)
                raw.drop()
                await heard
            async with self.case(f"{many} pings of {who} who does not read", waits=True):
                raw = await Raw.upgraded(self.target.agent, token)
                raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
                await self._pour(raw, frame(PING, b"x" * 125), many)
                raw.drop()
            async with self.case(f"{many} pongs of {who}", waits=True):
                raw = await Raw.upgraded(self.target.agent, token)
                await self._pour(raw, frame(PONG, b""), many)
                raw.drop()
        async with self.case("requests of somebody who does not read", waits=True):
            raw = await Raw.upgraded(self.target.agent, self.token)
            raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await self._pour(raw, frame(TEXT, json.dumps(request("agent.info")).encode()), many // 4)
            raw.drop()
        async with self.case("fifty requests at once of somebody who leaves, a hundred times", waits=True):
            for _ in range(100):
                raw = await Raw.upgraded(self.target.agent, self.token)
                await raw.say(frame(TEXT, json.dumps([request("job.list")] * MAX_BATCH).encode()))
                raw.drop()

    async def _pour(self, raw: Raw, data: bytes, times: int) -> None:
        """Send the same again and again, until that is done, refused, or no longer taken."""
        at_once = 1000
        for _ in range(times // at_once):
            if raw.writer.transport.is_closing():
                return
            try:
                async with asyncio.timeout(2):
                    await raw.say(data * at_once)
            except TimeoutError:
                return

    # In messages

    async def messages(self) -> None:
        for name, text in garbage():
            async with self.case(f"a stranger says {name}"):
                raw = await Raw.upgraded(self.target.agent)
                await raw.say(frame(TEXT, text))
                code = await raw.closed()
                self.require(code in (1007, 1008, 1009), f"a stranger says {name}: closed with {code}")
                raw.drop()
        raw = await Raw.upgraded(self.target.agent, self.token)
        for name, text in garbage():
            async with self.case(f"somebody says {name}"):
                answer = await raw.text(text)
                if isinstance(answer, int):
                    self.require(answer in (1007, 1009), f"somebody says {name}: closed with {answer}")
                    raw.drop()
                    raw = await Raw.upgraded(self.target.agent, self.token)
                else:
                    self._judge(name, answer)
        raw.drop()

    def _judge(self, name: str, answer: Any) -> None:
        for one in answer if isinstance(answer, list) else [answer]:
            code = one.get("error", {}).get("code")
            self.require(code is not None and code not in FAULTS, f"{name}: {json.dumps(one)[:200]}")

    async def params(self) -> None:
        """Call every method with params of every type, in batches."""
        raw = await Raw.upgraded(self.target.agent, self.token)
        job = (await raw.text(json.dumps(request("job.create", {"spec": {"argv": ["true"]}}))))["result"]["id"]
        codes: Counter[int] = Counter()
        for method in sorted(METHODS):
            if method in ("auth.login", "auth.logout", "agent.shutdown", "agent.restart", "job.delete"):
                extra: dict[str, Any] = {"unknown": 1}  # or it would be done
            else:
                extra = {"timeout": "0.01s"} if method == "job.wait" else {}
            calls = [params | extra for params in odd_params(method, job)]  # a wait without an end is no fault
            calls = calls[:: 29 if self.short else 1]
            async with self.case(f"{method} with odd params", waits=True):  # they are many; each answer is timed
                for some in batches(calls):
                    raw = await self._calls(raw, method, some, codes)
            self.target.outcome.cases += len(calls) - 1
        raw.drop()
        self.target.outcome.notes.append(f"answers to odd params: {dict(sorted(codes.items()))}")

    async def _calls(self, raw: Raw, method: str, calls: list[Any], codes: Counter[int]) -> Raw:
        """Send a batch, again where it was too much at once; return the connection for the next."""
        while True:
            text = json.dumps([request(method, params, n) for n, params in enumerate(calls)])
            began = time.monotonic()
            answers = await raw.text(text)
            waits = method in ("job.wait", "job.stop")
            took = time.monotonic() - began
            self.times.append((f"{len(calls)} times {method} with odd params", began, took, waits))
            if not isinstance(answers, list):
                self.require(False, f"{method} with odd params: {str(answers)[:200]}")
                raw.drop()
                return await Raw.upgraded(self.target.agent, self.token)
            found = {one["id"]: one.get("error", {"code": 0}) for one in answers}
            late = [calls[n] for n, error in found.items() if error["code"] == 42901 and "second" in error["message"]]
            for number, error in found.items():
                if error["code"] in FAULTS:
                    self.require(False, f"{method}({str(calls[number])[:100]}): {error}")
            codes.update(error["code"] for error in found.values())
            if any(isinstance(call, dict) for call in calls) and method == "job.run":
                raw.drop()  # and with it its subscriptions
                raw = await Raw.upgraded(self.target.agent, self.token)
            if not late:
                return raw
            calls = late
            await asyncio.sleep(0.05)


def batches(calls: list[Any]) -> Iterator[list[Any]]:
    """Yield lists of at most fifty calls that fit in one message."""
    some: list[Any] = []
    size = 0
    for call in calls:
        length = len(json.dumps(call)) + 100
        if some and (len(some) == MAX_BATCH or size + length > 1_000_000):
            yield some
            some, size = [], 0
        some.append(call)
        size += length
    if some:
        yield some


async def attack(path: Path, *, short: bool) -> Outcome:
    outcome = Outcome("corpus")
    async with Target(path, outcome) as target:
        token = await target.token("evil", "admin")
        target.secrets.add(WRONG)
        corpus = Corpus(target, token, short=short)
        async with Good(target) as good:
            await good.lap("alone")
            await asyncio.sleep(1 if short else QUIET)
            before = target.private_bytes()
            growth: list[tuple[str, int]] = [("", before)]
            for number in range(1 if short else 2):
                await good.lap(f"round {number + 1}")
                for part in (corpus.ports, corpus.upgrades, corpus.frames, corpus.messages, corpus.params):
                    await part()
                    growth.append((part.__name__, target.private_bytes()))
            held = target.pause()
    quick = sorted(((took, name) for name, _, took, waits in corpus.times if not waits), reverse=True)
    outcome.notes.append("the slowest that are not to wait:")
    outcome.notes += [f"  {took * 1000:.0f} ms: {name}" for took, name in quick[:5]]
    for lap, what in good.laps.items():
        outcome.notes.append(f"the good user, {lap}: {len(what.pings)} pings {told(what.pings)}")
        outcome.notes.append(
            f"  {len(what.jobs)} jobs {told(what.jobs)}; {len(what.logins)} logins {told(what.logins)}"
        )
        for moment, took in sorted(what.slow, key=lambda one: -one[1])[:5]:
            outcome.notes.append(f"  a ping of {took * 1000:.1f} ms during: {corpus.under_way(moment + took)}")
        for moment, took in sorted(what.slow_jobs, key=lambda one: -one[1])[:3]:
            outcome.notes.append(f"  a job of {took * 1000:.1f} ms during: {corpus.under_way(moment + took)}")
    longest = {name: max(lap.pings, default=0) * 1000 for name, lap in good.laps.items()}
    pause = max(longest.values())
    outcome.notes.append(
        f"longest pause of the loop, seen from within: {held * 1000:.1f} ms; longest ping {pause:.1f} ms"
    )
    if held > PAUSE:
        outcome.figures.append(f"the loop stood still for {held * 1000:.1f} ms; expected at most {PAUSE * 1000:.0f}")
    steps = (f"{name} {(now - then) / 1e6:+.1f}" for (_, then), (name, now) in itertools.pairwise(growth))
    outcome.notes.append(
        f"memory of the agent (USS): {before / 1e6:.1f} MB, then {growth[-1][1] / 1e6:.1f} MB: {', '.join(steps)}"
    )
    return outcome


def told(values: list[float]) -> str:
    p50, p99, longest = quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {longest:.1f} ms"
