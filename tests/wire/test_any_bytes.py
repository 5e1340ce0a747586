"""Whatever a job writes, and however, is what every reader gets: live and afterwards, text, base64 and binary."""

import sys
from typing import Any

import pytest
from tests.conftest import RunningAgent
from tests.torture.raw import Raw

from jobworker.protocol import BINARY_SUBPROTOCOL, SUBPROTOCOL

MIB = 1 << 20
ALL = bytes(range(256))


def python(code: str) -> dict[str, Any]:
    """Return a spec of a job that writes with nothing but system calls."""
    return {"argv": [sys.executable, "-I", "-S", "-c", f"from os import *; {code}"]}


# name: (spec, stdout, stderr)
JOBS: dict[str, tuple[dict[str, Any], bytes, bytes]] = {
    "64 MiB without a newline": ({"shell": f"head -c {64 * MIB} /dev/zero | tr '\\0' x"}, b"x" * 64 * MIB, b""),
    "every byte": (python("[write(1, bytes(range(256)) * n) for n in range(99)]"), ALL * (99 * 98 // 2), b""),
    "every byte beside every byte": (
        python("[(write(1, bytes([n])), write(2, bytes([255 - n]))) for n in range(256)]"),
        ALL,
        ALL[::-1],
    ),
    "characters, each write ending in the middle of one": (
        python(
            "data = ('a\\u20ac\\U0001f600' * 60000).encode();"
            " [write(1, data[at : at + 65533]) for at in range(0, len(data), 65533)]"
        ),
        "a\u20ac\U0001f600".encode() * 60000,
        b"",
    ),
    "halves of characters of which the other half never comes": (
        python(r"[(write(1, b'\xe2\x82'), write(2, b'\xf0\x9f\x98')) for _ in range(200)]"),
        b"\xe2\x82" * 200,
        b"\xf0\x9f\x98" * 200,
    ),
    "zeros": ({"shell": f"head -c {MIB} /dev/zero"}, bytes(MIB), b""),
    "a million empty lines": ({"shell": "yes '' | head -n 1000000"}, b"\n" * 1_000_000, b""),
    "one byte at a time": (
        python("[write(1 + n % 2, b'%d' % (n % 10)) for n in range(5000)]"),
        b"02468" * 500,
        b"13579" * 500,
    ),
    "nothing": ({"shell": ":"}, b"", b""),
    "empty writes": (python("[write(1, b'') for _ in range(100)]"), b"", b""),
    "more after stdout was closed": (
        {"shell": "echo a; exec >&-; echo lost 2> /dev/null; echo b >&2; exit 0"},
        b"a\n",
        b"b\n",
    ),
    "more after both were closed": ({"shell": "echo a; exec >&- 2>&-; echo lost; sleep 0.2; exit 0"}, b"a\n", b""),
    "output by name": (
        {"shell": "echo a > /dev/stdout; echo b > /dev/stderr; echo c >> /dev/stdout; echo d > /proc/self/fd/2"},
        b"a\nc\n",
        b"b\nd\n",
    ),
}


class Heard:
    """What comes of one subscription, held against what should."""

    def __init__(self, out: bytes, err: bytes) -> None:
        self.missing = {"stdout": memoryview(out), "stderr": memoryview(err)}
        self.offset = 0
        self.end: dict[str, Any] | None = None

    def take(self, method: str, params: dict[str, Any]) -> None:
        assert self.end is None, "nothing comes after log.end"
        assert params["offset"] == self.offset, "each begins where the one before ended"
        if method == "log.end":
            self.end = params
            return
        assert method == "log.data", params
        data, missing = params["bytes"], self.missing[params["stream"]]
        assert data
        assert data == missing[: len(data)]
        self.missing[params["stream"]] = missing[len(data) :]
        self.offset += len(data)


async def follow(raw: Raw, out: bytes, err: bytes, *requests: tuple[str, dict[str, Any]]) -> list[Heard]:
    """Send requests and read all of the subscriptions that the log.subscribe among them open."""
    heard: dict[str, Heard] = {}
    answers = 0
    for method, params in requests:
        await raw.ask(method, **params)
    while answers < len(requests) or not all(one.end for one in heard.values()):
        message = await raw.hear()
        if "method" in message:
            heard[message["params"]["subscription"]].take(message["method"], message["params"])
            continue
        answers += 1
        if "subscription" in message["result"]:
            heard[message["result"]["subscription"]] = Heard(out, err)
    return list(heard.values())


@pytest.mark.parametrize("name", JOBS)
async def test_any_bytes(shared: RunningAgent, name: str) -> None:
    """The concatenation of what each reader gets is what the job wrote to each stream, byte for byte."""
    spec, out, err = JOBS[name]
    for subprotocol, encodings in ((SUBPROTOCOL, ["auto", "base64"]), (BINARY_SUBPROTOCOL, ["auto"])):
        raw = Raw(shared, subprotocol)
        await raw.open()
        await raw.ask("job.create", spec=spec)
        job = (await raw.hear())["result"]["id"]
        subscriptions = [("log.subscribe", {"id": job, "encoding": encoding}) for encoding in encodings]
        live = await follow(raw, out, err, *subscriptions, ("job.start", {"id": job}))
        late = await follow(raw, out, err, *subscriptions)
        raw.close()
        assert len(live) == len(late) == len(encodings)
        for heard in live + late:
            assert [len(missing) for missing in heard.missing.values()] == [0, 0]
            assert heard.end is not None
            assert heard.end["exit"]["code"] == 0, heard.end
