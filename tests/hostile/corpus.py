"""Everything that a client can send and should not: each case beside a good user who must not notice."""

import asyncio
import base64
import itertools
import json
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.hostile.messages import garbage, odd_params, request
from tests.hostile.outcome import Outcome, quantile
from tests.hostile.raw import BINARY, CLOSE, LIMIT, PING, PONG, TEXT, UPGRADE, Raw, frame, junk
from tests.hostile.target import Good, Target

from jobworker.protocol import MAX_BATCH, encode_bearer
from jobworker.server import methods
from jobworker.server.dispatch import METHODS

__all__ = ["attack", "methods"]  # importing the methods registers them

QUIET = 5.0  # seconds for which the good user is watched alone
PAUSE = 0.05  # seconds for which the loop may stand still, on a quiet machine
FAULTS = {50001, -32603}  # codes of which none is the caller's doing
WRONG = "jw1_" + "W" * 43

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
            if method in ("auth.login", "agent.shutdown", "agent.restart", "job.delete"):
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


def upgrades(target: Target, token: str) -> Iterator[tuple[str, Callable[[Raw], Awaitable[int]], set[int]]]:
    """Yield names, requests and the statuses that each may be answered with; 0 is a connection that is closed."""
    agent = target.agent
    port = agent.port
    bearer = ("Authorization", f"Bearer {token}")

    def of(*headers: tuple[str, str], **how: Any) -> Callable[[Raw], Awaitable[int]]:
        return lambda raw: raw.upgrade(agent, headers, **how)

    def said(data: bytes) -> Callable[[Raw], Awaitable[int]]:
        async def say(raw: Raw) -> int:
            await raw.say(data)
            return await raw.status()

        return say

    refused = {0, 400, 401, 403, 404, 405, 414, 426, 431, 429, 505}
    hosts = ["", "evil.example", f"127.0.0.1.evil.example:{port}", f"127.0.0.1:{port}.evil", f"evil@127.0.0.1:{port}"]
    hosts += [f"127.0.0.1:{port + 1}", "127.0.0.1:443", f"0.0.0.0:{port}", f"2130706433:{port}", f"127.1:{port}"]
    hosts += [f"localhost.:{port}", f"localhost:{port},evil.example", f"[::ffff:127.0.0.1]:{port}", "x" * 8000]
    hosts += [f"127.0.0.1:{port}\thttps", f"local\u00adhost:{port}", f"127.0.0.1:0{port}", "\xff\xfe", "%00", "[::1"]
    for host in hosts:
        yield f"the Host {host[:40]!r}", of(bearer, host=host), {0, 400, 403}
    yield "two Hosts", of(bearer, ("Host", f"127.0.0.1:{port}")), {400, 403}
    yield "a rebound Host beside a good one", of(bearer, ("Host", "evil.example")), {400, 403}
    good = f"https://127.0.0.1:{port}"
    origins = ["null", "", "https://evil.example", f"https://127.0.0.1.evil.example:{port}", f"{good}.evil.example"]
    origins += [f"{good}/", f"{good}/x", f"{good} ", f"http://127.0.0.1:{port}", "https://127.0.0.1", f"{good}0"]
    origins += [f"https://127.0.0.1:{port + 1}", f"https://evil@127.0.0.1:{port}", f"https://localhost.:{port}"]
    origins += [f"{good} https://evil.example", f"HTTPS://LOCALHOST:{port}", "file://", "x" * 8000, "\xff", "*"]
    for origin in origins:
        right = {101, 403} if origin.strip() == good else {400, 403}
        yield f"the Origin {origin[:40]!r}", of(bearer, ("Origin", origin)), right
    yield "two Origins", of(bearer, ("Origin", good), ("Origin", good)), {400, 403}
    for path in ("/", "/rpc/", "/rpc/../rpc", "//rpc", "/RPC", "/%72pc", "*", f"https://127.0.0.1:{port}/rpc"):
        yield f"the path {path}", of(bearer, line=f"GET {path} HTTP/1.1"), {400, 404}
    yield "a path of 7 kB", of(bearer, line=f"GET /{'x' * 7000} HTTP/1.1"), {404, 414}
    yield "a path of 100 kB", of(bearer, line=f"GET /{'x' * 100_000} HTTP/1.1"), refused
    for method in ("POST", "OPTIONS", "CONNECT", "get", "\0", "G" * 9000):
        yield f"the method {method[:9]!r}", of(bearer, line=f"{method} /rpc HTTP/1.1"), refused
    for version in ("HTTP/0.9", "HTTP/1.0", "HTTP/2", "HTTP/9.9", "", "ICE/1.0"):
        yield f"the version {version!r}", of(bearer, line=f"GET /rpc {version}"), refused
    yield "one header of 100 kB", of(bearer, ("X", "y" * 100_000)), refused
    yield "one header of 8 kB", of(bearer, ("X", "y" * 8100)), {101}
    yield "200 headers", of(bearer, *((f"X-{n}", "y") for n in range(200))), refused
    yield "200 headers of 8 kB", of(bearer, *((f"X-{n}", "y" * 8000) for n in range(200))), refused
    yield "a name of a header with spaces", of(bearer, ("X y", "z")), refused
    yield "a folded header", of(bearer, ("X", "y\r\n z")), refused
    yield "a NUL in a header", of(bearer, ("X", "y\0z")), refused
    yield "chunks", of(bearer, ("Transfer-Encoding", "chunked")), refused | {501}
    yield "a body", of(bearer, ("Content-Length", "5")), refused | {413}
    yield "a length of 5,000 digits", of(bearer, ("Content-Length", "9" * 5000)), refused | {413}
    for missing in range(len(UPGRADE)):
        own = UPGRADE[:missing] + UPGRADE[missing + 1 :]
        yield f"without {UPGRADE[missing][0]}", of(bearer, own=own), refused
    for name, value in {"Sec-WebSocket-Key": "short", "Sec-WebSocket-Version": "99", "Upgrade": "h2c"}.items():
        own = tuple((header, value if header == name else kept) for header, kept in UPGRADE)
        yield f"{name}: {value}", of(bearer, own=own), refused
    yield "two keys", of(bearer, ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")), refused
    for value in ("permessage-deflate", "permessage-deflate; client_max_window_bits=99", ";;;,,,=", "x" * 8000):
        yield f"the extension {value[:40]}", of(bearer, ("Sec-WebSocket-Extensions", value)), {101, 400}
    for value in (
        "",
        ",",
        ",,,",
        "\x7f",
        "jobworker.v1,,jobworker.v1",
        "x" * 8000,
        "a," * 4000,
        "(,)",
        "jobworker.v2",
    ):
        yield f"the subprotocol {value[:40]!r}", of(bearer, ("Sec-WebSocket-Protocol", value)), {0, 101, 400}
    carried = "base64url.bearer.jobworker."
    for value in (encode_bearer(WRONG), encode_bearer("x" * 5000), carried, f"{carried}!!!"):
        yield f"the subprotocol {value[:40]}", of(("Sec-WebSocket-Protocol", value)), refused
    yield "a surrogate as token", of(("Sec-WebSocket-Protocol", "base64url.bearer.jobworker.7aCA")), {400, 401}
    yield "header and subprotocol", of(bearer, ("Sec-WebSocket-Protocol", encode_bearer(token))), {400}
    yield "two headers", of(bearer, bearer), {400}
    yield "two subprotocols", of(*[("Sec-WebSocket-Protocol", encode_bearer(token))] * 2), {400}
    basic = base64.b64encode(f"root:{WRONG}".encode()).decode()
    for value in (
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {WRONG}",
        f"Bearer {'x' * 8000}",
        f"Basic {basic}",
        "Basic !",
        "\xff",
    ):
        yield f"the Authorization {value[:20]!r}", of(("Authorization", value)), {400, 401}
    yield "a token of 1 MB", of(("Authorization", f"Bearer {'x' * 1_000_000}")), refused
    yield "a password of NULs", of(("Authorization", "Basic " + base64.b64encode(bytes(3000)).decode())), {400, 401}
    yield "a token in the URL", stays_out(of(line=f"GET /rpc?token={token}&access_token={token} HTTP/1.1")), {1008}
    yield "a token in a cookie", stays_out(of(("Cookie", f"token={token}"))), {1008}
    yield "junk", said(junk(10_000)), refused
    yield "empty lines", said(b"\r\n" * 50_000), refused
    yield "a megabyte without an end of line", said(b"x" * (1 << 20)), refused
    yield "the preface of HTTP/2", said(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), refused
    yield "line feeds only", said(b"GET /rpc HTTP/1.1\nHost: evil\n\n"), refused
    yield "frames without an upgrade", said(frame(TEXT, b"{}") * 100), refused


def stays_out(send: Callable[[Raw], Awaitable[int]]) -> Callable[[Raw], Awaitable[int]]:
    """Make a request; return the code with which whom it let in unknown is closed, or its status."""

    async def tried(raw: Raw) -> int:
        status = await send(raw)
        if status != 101:
            return status
        await raw.say(frame(TEXT, json.dumps(request("auth.whoami")).encode()))
        return await raw.closed()

    return tried


def frames() -> Iterable[tuple[str, bytes, set[int]]]:
    """Return names, what is sent after the upgrade, and the codes with which that may be closed."""
    ping = json.dumps(request("agent.ping")).encode()
    closes = [struct.pack("!H", code) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)]
    return [
        ("a compressed frame", frame(TEXT, ping, rsv=4), {1002}),
        ("reserved bits", frame(TEXT, ping, rsv=3), {1002}),
        ("a binary frame", frame(BINARY, ping), {1003}),
        ("a binary frame of 1 MB", frame(BINARY, junk(1_000_000)), {1003}),
        ("an unmasked frame", frame(TEXT, ping, masked=False), {1002}),
        ("an unknown opcode", frame(3, ping), {1002}),
        ("an unknown control frame", frame(11, b""), {1002}),
        ("a ping of 126 bytes", frame(PING, bytes(126)), {1002}),
        ("a ping in fragments", frame(PING, b"", fin=False), {1002}),
        ("a continuation of nothing", frame(0, ping), {1002}),
        ("a text within a text", frame(TEXT, b"{", fin=False) + frame(TEXT, ping), {1002}),
        ("a frame of 2 MB", frame(TEXT, b" " * (2 << 20)), {1009}),
        ("a frame of 2^62 bytes", b"\x81\xff" + struct.pack("!Q", 1 << 62) + bytes(4), {1009}),
        ("a frame of 2^64 - 1 bytes", b"\x81\xff" + b"\xff" * 8 + bytes(4), {1002, 1009}),
        ("2 MB in fragments", frame(TEXT, b" ", fin=False) + frame(0, b" " * 70_000, fin=False) * 30, {1009}),
        ("text that is not UTF-8", frame(TEXT, b"\xff\xfe\xfd"), {1007}),
        ("half a character at the end", frame(TEXT, b"\xe2\x82"), {1007}),
        ("a close of one byte", frame(CLOSE, b"x"), {1002}),
        ("a close that is not UTF-8", frame(CLOSE, b"\x03\xe8\xff\xff"), {1007, 1002}),
        *((f"a close {int.from_bytes(code)}", frame(CLOSE, code), {1002}) for code in closes),
        ("a request after the close", frame(CLOSE, b"\x03\xe8") + frame(TEXT, ping) * 100, {1000}),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n", {1002}),
        ("junk", b"\xf0" + junk(100_000), {1002}),
    ]


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
