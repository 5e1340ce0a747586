"""Subscriptions: every byte from the offset on, in order, then log.end; and nothing after an unsubscribe."""

import base64
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Gate, Log, Wire

HELLO = "hello, world\n"


@pytest.fixture
async def ended(wire: "Wire") -> str:
    """A job that wrote hello and ended."""
    job = await wire.run(shell=f"printf '{HELLO.strip()}\\n'; exit 3")
    await wire.ask("job.wait", id=job["id"])
    return str(job["id"])


def offsets_fit(log: "Log", start: int) -> bool:
    """Whether each frame begins at the end of the one before."""
    for frame in log.frames:
        if frame["offset"] != start:
            return False
        start += len(frame["bytes"])
    return log.end is not None and log.end["offset"] == start


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("offset", [0, 1, 5, 12, 13])
async def test_from_an_offset(wire: "Wire", ended: str, offset: int, follow: bool) -> None:
    """From any byte of the log to its end, which may be no bytes; then log.end with the exit."""
    log = await wire.follow(await wire.subscribe(ended, offset=offset, follow=follow))
    assert log.stdout == HELLO.encode()[offset:]
    assert offsets_fit(log, offset)
    assert log.end is not None
    assert (log.end["job"], log.end["state"], log.end["exit"]["code"]) == (ended, "exited", 3)


@pytest.mark.parametrize("offset", [-1, 14, 2**40, -(2**63), 2**63])
async def test_an_offset_that_is_none(wire: "Wire", ended: str, offset: int) -> None:
    """Below zero or beyond the end: 41601 with the end of the log."""
    error = await wire.refused("log.subscribe", id=ended, offset=offset)
    assert (error["code"], error["data"]["reason"]) == (41601, "offset_out_of_range")
    assert "13" in error["message"]
    log = await wire.follow(await wire.subscribe(ended))
    assert log.stdout == HELLO.encode()


async def test_no_follow_on_a_running_job(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """What is there now, then log.end with exit null; the job runs on."""
    door = gate()
    run = await wire.ask("job.run", spec={"shell": f"echo one; {door.wait}; echo two"})
    await wire.until(run["subscription"], b"one\n")
    log = await wire.follow(await wire.subscribe(run["job"]["id"], follow=False))
    assert log.stdout == b"one\n"
    assert log.end is not None
    assert (log.end["state"], log.end["exit"], log.end["offset"]) == ("running", None, 4)
    assert (await wire.refused("log.subscribe", id=run["job"]["id"], offset=5))["code"] == 41601
    tail = await wire.subscribe(run["job"]["id"], offset=4)
    door.open()
    assert (await wire.follow(tail)).stdout == b"two\n"
    assert (await wire.follow(run["subscription"])).stdout == b"one\ntwo\n"


async def test_no_follow_on_a_created_job(wire: "Wire") -> None:
    """Nothing, then log.end."""
    log = await wire.follow(await wire.subscribe(await wire.create(shell=":"), follow=False))
    assert log.end is not None
    assert (log.frames, log.end["state"], log.end["exit"], log.end["offset"]) == ([], "created", None, 0)


async def test_follow_a_created_job(wire: "Wire", second: "Wire") -> None:
    """A client that subscribes before the start gets every byte, and the end."""
    job = await wire.create(shell="echo a; echo b >&2; exit 9")
    name = await second.subscribe(job)
    await wire.ask("job.start", id=job)
    log = await second.follow(name)
    assert log.text == {"stdout": b"a\n", "stderr": b"b\n"}
    assert offsets_fit(log, 0)
    assert log.end is not None
    assert log.end["exit"]["code"] == 9


async def test_two_subscribers_see_the_same(wire: "Wire", second: "Wire") -> None:
    """Two at the same job, one of them with base64, get the same bytes of both streams, in the same order."""
    script = "i=0; while [ $i -lt 300 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; head -c 300000 /dev/urandom"
    job = await wire.create(shell=script)
    names = [await wire.subscribe(job), await second.subscribe(job, encoding="base64")]
    await wire.ask("job.start", id=job)
    one, two = await wire.follow(names[0]), await second.follow(names[1])
    assert one.text == two.text
    assert one.end is not None
    assert two.end is not None
    assert {key: one.end[key] for key in ("offset", "state", "exit")} == {
        key: two.end[key] for key in ("offset", "state", "exit")
    }
    assert len(one.stdout) + len(one.text["stderr"]) == one.end["offset"]
    assert one.text["stderr"] == "".join(f"err{n}\n" for n in range(300)).encode()
    assert offsets_fit(one, 0)
    assert offsets_fit(two, 0)
    again = await wire.follow(await wire.subscribe(job))
    assert again.text == one.text


async def test_unsubscribe(wire: "Wire") -> None:
    """Nothing of a subscription follows the answer to its unsubscribe, while the job writes on."""
    run = await wire.ask("job.run", spec={"shell": "while :; do echo y; done"})
    await wire.until(run["subscription"], b"y\ny\n")
    number = await wire.begin("log.unsubscribe", subscription=run["subscription"])
    assert (await wire.answer(number))["result"] is True
    seen = len(wire.logs[run["subscription"]].frames)
    fence = await wire.subscribe(run["job"]["id"], follow=False)
    await wire.ask("job.stop", id=run["job"]["id"])
    await wire.follow(fence)
    assert len(wire.logs[run["subscription"]].frames) == seen
    assert wire.logs[run["subscription"]].end is None


async def test_unsubscribe_what_is_not_there(wire: "Wire", second: "Wire", ended: str) -> None:
    """Twice, after its end, of another connection, or unknown: 40402."""
    job = await wire.run(argv=["sleep", "1000"])
    name = await wire.subscribe(job["id"])
    foreign = await second.refused("log.unsubscribe", subscription=name)
    assert (foreign["code"], foreign["data"]["reason"]) == (40402, "subscription_not_found")
    assert await wire.ask("log.unsubscribe", subscription=name) is True
    over = await wire.subscribe(ended)
    await wire.follow(over)
    for other in (name, over, "", "s999", "x" * 10_000):
        assert (await wire.refused("log.unsubscribe", subscription=other))["code"] == 40402
    await wire.ask("job.stop", id=job["id"])


async def test_subscribe_and_unsubscribe_in_one_batch(wire: "Wire") -> None:
    """Nothing follows the answer of a batch that does both."""
    job = await wire.run(shell="echo x; exec sleep 1000")
    await wire.until(await wire.subscribe(job["id"]), b"x\n")
    wire.order.clear()
    answers = await wire.tell(
        [
            {"jsonrpc": "2.0", "id": "a", "method": "log.subscribe", "params": {"id": job["id"]}},
            {"jsonrpc": "2.0", "id": "b", "method": "log.unsubscribe", "params": {"subscription": "s2"}},
        ]
    )
    assert [answer.get("result") for answer in answers][1] is True, "unsubscribed before the batch was answered"
    await wire.follow(await wire.subscribe(job["id"], follow=False))  # whatever comes, came before this
    assert "s2" not in wire.logs
    await wire.ask("job.stop", id=job["id"])


async def test_an_unsubscribe_leaves_the_others(wire: "Wire", second: "Wire", gate: Callable[[], "Gate"]) -> None:
    """The other subscribers of the same job miss nothing."""
    door = gate()
    job = await wire.run(shell=f"{door.wait}; echo x; {door.wait}")
    mine, theirs = await wire.subscribe(job["id"]), await second.subscribe(job["id"])
    await wire.ask("log.unsubscribe", subscription=mine)
    door.open()
    await second.until(theirs, b"x\n")
    again = await wire.subscribe(job["id"])
    await wire.until(again, b"x\n")
    door.open()
    await second.follow(theirs)
    await wire.follow(again)


# Text and bytes


async def test_text_goes_as_text(wire: "Wire") -> None:
    """UTF-8 goes as it is, all of Unicode and the control characters too."""
    words = "plain ä € \U0001f600 \x01\x1b[31m\x7f"
    run = await wire.ask("job.run", spec={"argv": ["printf", "%s\\000", words]})
    log = await wire.follow(run["subscription"])
    assert set(log.encodings) == {"utf8"}
    assert "".join(frame["data"] for frame in log.frames) == words + "\0"


@pytest.mark.parametrize("octal", [r"\377", r"a\200b", r"\300\200", r"\355\240\200", r"\364\220\200\200", r"ok\303("])
async def test_what_is_not_text_goes_as_base64(wire: "Wire", octal: str) -> None:
    """Invalid UTF-8 (also overlong, surrogates, beyond Unicode): base64 of exactly these bytes."""
    run = await wire.ask("job.run", spec={"argv": ["printf", octal]})
    log = await wire.follow(run["subscription"])
    assert log.stdout == eval(f"b'{octal}'")
    assert "base64" in log.encodings
    for frame in log.frames:
        if frame["encoding"] == "base64":
            assert base64.b64decode(frame["data"], validate=True) == frame["bytes"]


async def test_base64_on_request(wire: "Wire") -> None:
    """With `encoding: "base64"` text goes as base64, of job.run and of log.subscribe."""
    run = await wire.ask("job.run", spec={"shell": "echo text"}, encoding="base64")
    for name in (run["subscription"], await wire.subscribe(run["job"]["id"], encoding="base64")):
        log = await wire.follow(name)
        assert (log.stdout, set(log.encodings)) == (b"text\n", {"base64"})


async def test_a_character_is_not_cut(wire: "Wire") -> None:
    """A character of which half was written a moment before the other half goes as one.

    On a busy host a moment may be longer than halves are held: once in several tries it is not.
    """
    tries: list[set[str]] = []
    while {"utf8"} not in tries and len(tries) < 8:
        spec = {"shell": "for i in 1 2 3 4 5 6 7 8; do printf '\\303'; printf '\\251'; done"}
        log = await wire.follow((await wire.ask("job.run", spec=spec))["subscription"])
        assert log.stdout.decode() == "é" * 8
        tries.append(set(log.encodings))
    assert {"utf8"} in tries


async def test_a_character_across_chunks_is_not_cut(wire: "Wire") -> None:
    """If a log is read in pieces, no piece ends within a character."""
    run = await wire.ask("job.run", spec={"shell": "printf x; yes € | head -c 400000 | tr -d '\\n'"})
    await wire.follow(run["subscription"])
    for offset in (0, 1, 4):
        log = await wire.follow(await wire.subscribe(run["job"]["id"], offset=offset))
        assert len(log.frames) > 1
        assert set(log.encodings[:-1]) == {"utf8"}


async def test_half_a_character_goes_as_base64(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """What stays half is not kept back: it goes as base64, and so does its late other half."""
    door = gate()
    run = await wire.ask("job.run", spec={"shell": f"printf 'a\\303'; {door.wait}; printf '\\251b'"})
    log = await wire.until(run["subscription"], b"a\xc3")
    assert [(frame["bytes"], frame["encoding"]) for frame in log.frames] == [(b"a", "utf8"), (b"\xc3", "base64")]
    door.open()
    log = await wire.follow(run["subscription"])
    assert log.stdout == b"a\xc3\xa9b"
    assert log.encodings[2] == "base64"


async def test_half_a_character_at_the_end(wire: "Wire") -> None:
    """The last byte of a log arrives, whatever it is half of."""
    run = await wire.ask("job.run", spec={"shell": "printf 'a\\342\\202'"})
    log = await wire.follow(run["subscription"])
    assert log.stdout == b"a\xe2\x82"
    assert offsets_fit(log, 0)


async def test_half_a_character_and_the_other_stream(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """Half a character does not wait past bytes of the other stream: it goes as base64 before them."""
    door = gate()
    job = await wire.run(shell=f"printf '\\303'; {door.wait}; echo e >&2; {door.wait}; printf '\\251'")
    name = await wire.subscribe(job["id"])
    log = await wire.until(name, b"\xc3")
    door.open()
    while not log.text["stderr"]:  # the order of the two streams is that in which their bytes were read
        await wire.hear()
    door.open()
    await wire.follow(name)
    log = await wire.follow(await wire.subscribe(job["id"]))
    assert [(frame["stream"], frame["bytes"], frame["encoding"]) for frame in log.frames] == [
        ("stdout", b"\xc3", "base64"),
        ("stderr", b"e\n", "utf8"),
        ("stdout", b"\xa9", "base64"),
    ]


# Limits


async def test_too_many_subscriptions(wire: "Wire", second: "Wire") -> None:
    """More than limits.subscriptions on one connection: 42901 with retry_after; one less makes room again."""
    limit = (await wire.ask("agent.info"))["limits"]["subscriptions"]
    job = await wire.run(argv=["sleep", "1000"])
    ids = [await wire.begin("log.subscribe", id=job["id"]) for _ in range(limit)]
    names = [(await wire.answer(number))["result"]["subscription"] for number in ids]
    assert len(set(names)) == limit
    for method, params in (("log.subscribe", {"id": job["id"]}), ("job.run", {"spec": {"shell": ":"}})):
        error = await wire.refused(method, **params)
        assert (error["code"], error["data"]["reason"], error["data"]["retryable"]) == (42901, "rate_limited", True)
        assert error["data"]["retry_after"] > 0
    await second.subscribe(job["id"])
    await wire.ask("log.unsubscribe", subscription=names[5])
    last = await wire.subscribe(job["id"])
    await wire.ask("job.stop", id=job["id"])
    assert (await wire.follow(last)).end is not None
    assert (await wire.follow(names[0])).end is not None


async def test_a_deletion_while_output_is_on_its_way(wire: "Wire", second: "Wire") -> None:
    """A subscriber of a job that is deleted while the pump is behind still gets its end."""
    pump = (await wire.ask("agent.info"))["keeper"]["pump"]
    job = await wire.run(shell="echo x; exec sleep 1000")
    name = await second.subscribe(job["id"])
    await second.until(name, b"x\n")
    os.kill(pump, signal.SIGSTOP)
    try:
        await wire.ask("job.delete", id=job["id"], force=True)
    finally:
        os.kill(pump, signal.SIGCONT)
    assert (await second.follow(name)).end is not None


async def test_the_last_bytes_of_a_job_that_has_ended(wire: "Wire") -> None:
    """A log that is not followed is whole once the job has ended, though the pump has not yet moved all of it."""
    pump = (await wire.ask("agent.info"))["keeper"]["pump"]
    os.kill(pump, signal.SIGSTOP)
    try:
        job = await wire.run(shell="echo late")
        await wire.ask("job.wait", id=job["id"])
        asked = await wire.begin("log.subscribe", id=job["id"], follow=False)
        await wire.ask("agent.ping")  # asked later, answered first
    finally:
        os.kill(pump, signal.SIGCONT)
    log = await wire.follow((await wire.answer(asked))["result"]["subscription"])
    assert log.stdout == b"late\n"


async def test_a_log_that_a_grandchild_keeps_open(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """The log is served as it is, without waiting for the process that holds it."""
    door = gate()
    job = await wire.run(shell=f"(trap '' HUP; {door.wait}) & echo main", leftovers="leave")
    await wire.ask("job.wait", id=job["id"])
    log = await wire.follow(await wire.subscribe(job["id"], follow=False))
    assert log.stdout == b"main\n"
    door.open()
