"""Requests for a websocket that no client should send, and frames after one."""

import base64
import json
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from tests.hostile.messages import request
from tests.hostile.raw import BINARY, CLOSE, PING, TEXT, UPGRADE, Raw, frame, junk
from tests.hostile.target import Target

from jobworker.protocol import encode_bearer

WRONG = "jw1_" + "W" * 43


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
    hosts += [f"0.0.0.0:{port}", f"2130706433:{port}", f"127.1:{port}"]
    hosts += [f"localhost:{port},evil.example", f"[::ffff:127.0.0.1]:{port}", "x" * 8000]
    hosts += [f"127.0.0.1:{port}\thttps", f"local\u00adhost:{port}", f"127.0.0.1:0{port}", "\xff\xfe", "%00", "[::1"]
    for host in hosts:
        yield f"the Host {host[:40]!r}", of(bearer, host=host), {0, 400, 403}
    # A tunnel has another port, and with the dot it is the same name.
    for behind in (f"127.0.0.1:{port + 1}", "127.0.0.1:443", f"localhost.:{port}"):
        yield f"the Host {behind}", of(bearer, host=behind), {101}
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
    yield "the path of the page", of(bearer, line="GET / HTTP/1.1"), {200}
    for path in ("/rpc/", "/rpc/../rpc", "//rpc", "/RPC", "/%72pc", "*", f"https://127.0.0.1:{port}/rpc"):
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
        ("a frame of 5 MB", frame(TEXT, b" " * (5 << 20)), {1009}),
        ("a frame of 2^62 bytes", b"\x81\xff" + struct.pack("!Q", 1 << 62) + bytes(4), {1009}),
        ("a frame of 2^64 - 1 bytes", b"\x81\xff" + b"\xff" * 8 + bytes(4), {1002, 1009}),
        ("5 MB in fragments", frame(TEXT, b" ", fin=False) + frame(0, b" " * 70_000, fin=False) * 75, {1009}),
        ("text that is not UTF-8", frame(TEXT, b"\xff\xfe\xfd"), {1007}),
        ("half a character at the end", frame(TEXT, b"\xe2\x82"), {1007}),
        ("a close of one byte", frame(CLOSE, b"x"), {1002}),
        ("a close that is not UTF-8", frame(CLOSE, b"\x03\xe8\xff\xff"), {1007, 1002}),
        *((f"a close {int.from_bytes(code)}", frame(CLOSE, code), {1002}) for code in closes),
        ("a request after the close", frame(CLOSE, b"\x03\xe8") + frame(TEXT, ping) * 100, {1000}),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n", {1002}),
        ("junk", b"\xf0" + junk(100_000), {1002}),
    ]
