"""stdin.write and stdin.close: each byte once, waiting in place of memory, the end after the last byte."""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import FOR_OTHERS, RunningAgent

from jobworker.host.spool import BOUND
from jobworker.model import JobSpec
from jobworker.protocol import BINARY_SUBPROTOCOL

if TYPE_CHECKING:
    from tests.support.wire import Dial, Wire

    from jobworker.paths import Home

PIECE = 512 << 10
PIPE = 65536  # bytes: what a pipe takes that nothing reads, before it is widened


async def begin(wire: "Wire", shell: str, **spec: Any) -> tuple[str, str]:
    """Start a job with an input; return its id and the subscription to its log."""
    run = await wire.ask("job.run", spec={"shell": shell, "stdin": "pipe", **spec})
    return run["job"]["id"], run["subscription"]


def piece(data: bytes, **more: Any) -> dict[str, Any]:
    return {"data": base64.b64encode(data).decode(), "encoding": "base64", **more}


async def test_all_bytes_arrive_and_then_the_end(wire: "Wire") -> None:
    """Text and base64, and the end right after the last byte."""
    job, subscription = await begin(wire, "cat; echo over")
    every = bytes(range(256)) * 5
    assert await wire.ask("stdin.write", id=job, data="grüße\n") == {"accepted": 8, "offset": 8}
    assert await wire.ask("stdin.write", id=job, **piece(every)) == {"accepted": 1280, "offset": 1288}
    assert await wire.ask("stdin.close", id=job, offset=1288) == {"offset": 1288}
    log = await wire.follow(subscription)
    assert log.stdout == "grüße\n".encode() + every + b"over\n"
    assert log.end is not None
    assert (log.end["exit"]["code"], log.end["exit"]["stdin_unread"]) == (0, 0)


async def test_what_is_sent_again_is_written_once(wire: "Wire") -> None:
    """The offset says what of the data is new; a gap is refused with the place to go on at."""
    job, subscription = await begin(wire, "cat")
    assert await wire.ask("stdin.write", id=job, data="abc", offset=0) == {"accepted": 3, "offset": 3}
    assert await wire.ask("stdin.write", id=job, data="abc", offset=0) == {"accepted": 3, "offset": 3}
    assert await wire.ask("stdin.write", id=job, data="bcdef", offset=1) == {"accepted": 5, "offset": 6}
    gap = await wire.refused("stdin.write", id=job, data="z", offset=7)
    assert (gap["code"], gap["data"]["reason"], gap["data"]["offset"]) == (41602, "input_gap", 6)
    gap = await wire.refused("stdin.close", id=job, offset=5)
    assert (gap["code"], gap["data"]["offset"]) == (41602, 6)
    await wire.ask("stdin.close", id=job)
    assert await wire.ask("stdin.write", id=job, data="ef", offset=4) == {"accepted": 2, "offset": 6}
    closed = await wire.refused("stdin.write", id=job, data="efg", offset=4)
    assert (closed["code"], closed["data"]["reason"]) == (41001, "stdin_closed")
    assert (await wire.follow(subscription)).stdout == b"abcdef"
    assert await wire.ask("stdin.write", id=job, data="ef", offset=4) == {"accepted": 2, "offset": 6}
    assert await wire.ask("stdin.close", id=job, offset=6) == {"offset": 6}
    assert (await wire.refused("stdin.write", id=job, data="g"))["data"]["state"] == "exited"


async def test_a_job_that_does_not_read_costs_a_bound(wire: "Wire", tmp_path: Path) -> None:
    """Writes wait; the disk holds no more than the bound; each byte arrives once the job reads."""
    go = tmp_path / "go"
    os.mkfifo(go)
    job, subscription = await begin(wire, f"read x < {go}; md5sum")
    data = os.urandom(BOUND + 8 * PIECE)
    info = await wire.ask("agent.info")
    assert info["capabilities"]["stdin"] == BOUND
    numbers = [
        await wire.begin("stdin.write", id=job, **piece(data[at : at + PIECE], offset=at))
        for at in range(0, BOUND, PIECE)
    ]
    for number in numbers:
        assert "result" in await wire.answer(number)
    waiting = [
        await wire.begin("stdin.write", id=job, **piece(data[at : at + PIECE], offset=at))
        for at in range(BOUND, len(data), PIECE)
    ]
    await wire.ask("agent.ping")  # the connection is served meanwhile
    go.write_text("go\n")
    for number in waiting:
        assert "result" in await wire.answer(number)
    await wire.ask("stdin.close", id=job)
    log = await wire.follow(subscription)
    assert log.stdout.split()[0] == hashlib.md5(data).hexdigest().encode()


async def test_more_waiting_writes_than_memory_may_hold(wire: "Wire", shared: RunningAgent) -> None:
    """Of the writes that a connection has waiting, those beyond 4 MiB are refused and can be sent again."""
    job, _ = await begin(wire, "sleep 600")
    data, at = bytes(PIECE), 0
    codes = set()
    for _ in range(24):
        await wire.begin("stdin.write", id=job, **piece(data, offset=at))
        at += PIECE
    number = await wire.begin("stdin.write", id=job, **piece(data, offset=at))
    codes.add((await wire.answer(number))["error"]["code"])
    assert codes == {42901}
    stored = sum(file.stat().st_blocks * 512 for file in (shared.home.input).glob(f"{job}.*"))
    assert stored <= BOUND + PIECE
    await wire.ask("job.stop", id=job, stop={"strategy": "kill"})


async def test_unread_input_is_counted(wire: "Wire") -> None:
    """What the job left in its pipe and in the spool is in its exit."""
    job, subscription = await begin(wire, "head -c 10 >/dev/null; sleep 600")
    size = 3 << 20
    for at in range(0, size, PIECE):
        await wire.ask("stdin.write", id=job, **piece(bytes(PIECE), offset=at))
    await wire.ask("stdin.close", id=job)
    await wire.ask("job.stop", id=job, stop={"strategy": "kill"})
    log = await wire.follow(subscription)
    assert log.end is not None
    assert size - 65536 <= log.end["exit"]["stdin_unread"] <= size - 10


async def test_a_job_that_closes_its_stdin(wire: "Wire") -> None:
    """41001; the job goes on, and what it did not read is counted."""
    job, subscription = await begin(wire, "read x; exec <&-; echo closed; sleep 600")
    await wire.ask("stdin.write", id=job, data="line\nrest")
    await wire.until(subscription, b"closed\n")
    error: dict[str, Any] = {}
    while not error:
        answer = await wire.answer(await wire.begin("stdin.write", id=job, **piece(bytes(PIECE))))
        error = answer.get("error", {})
    assert (error["code"], error["data"]["state"]) == (41001, "running")
    assert (await wire.ask("job.status", id=job))["state"] == "running"
    await wire.ask("job.stop", id=job, stop={"strategy": "kill"})
    log = await wire.follow(subscription)
    assert log.end is not None
    assert log.end["exit"]["stdin_unread"] == len("rest")


async def test_a_waiting_write_ends_with_the_job(wire: "Wire") -> None:
    """The job ends while a write waits for it to read: 41001."""
    job, subscription = await begin(wire, "sleep 600")
    at = 0
    for at in range(0, BOUND + 2 * PIECE, PIECE):
        number = await wire.begin("stdin.write", id=job, **piece(bytes(PIECE), offset=at))
    await wire.ask("job.stop", id=job, stop={"strategy": "kill"})
    await wire.follow(subscription)
    assert (await wire.answer(number))["error"]["code"] == 41001


async def test_no_input_by_default(wire: "Wire") -> None:
    """A job without one reads /dev/null, and a write to it is refused."""
    run = await wire.ask("job.run", spec={"shell": "cat; readlink /proc/self/fd/0; sleep 600"})
    await wire.until(run["subscription"], b"/dev/null\n")
    for method, params in (("stdin.write", {"data": "x"}), ("stdin.close", {})):
        error = await wire.refused(method, id=run["job"]["id"], **params)
        assert (error["code"], error["data"]["state"]) == (40901, "running")
        assert 'stdin: "pipe"' in error["data"]["hint"]
    await wire.ask("job.stop", id=run["job"]["id"], stop={"strategy": "kill"})


async def test_before_the_start(wire: "Wire") -> None:
    """A job that is only created takes no input yet."""
    job = await wire.create(argv=["cat"], stdin="pipe")
    assert (await wire.refused("stdin.write", id=job, data="x"))["data"]["state"] == "created"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"data": "%%%", "encoding": "base64"}, "data"),
        ({"data": "QQ", "encoding": "base64"}, "data"),
        ({"data": "x", "encoding": "latin1"}, "encoding"),
        ({"data": "x", "offset": -1}, "offset"),
        ({"data": 7}, "data"),
        ({"data": "x", "bogus": 1}, "bogus"),
        ({}, "data"),
    ],
    ids=str,
)
async def test_bad_params(wire: "Wire", params: dict[str, Any], field: str) -> None:
    job, _ = await begin(wire, "cat")
    error = await wire.refused("stdin.write", id=job, **params)
    assert (error["code"], error["data"]["field"]) == (-32602, field)
    await wire.ask("job.stop", id=job, stop={"strategy": "kill"})


async def test_binary_frames(shared: RunningAgent, dial: "Dial") -> None:
    """With the binary subprotocol a write may be a line of JSON and the bytes themselves; no other call may."""
    async with dial(shared, subprotocols=[BINARY_SUBPROTOCOL]) as wire:
        job, subscription = await begin(wire, "cat")
        every = bytes(range(256)) * 2000

        async def send(frame: bytes) -> Any:
            await wire.connection.send(frame)
            while "method" in (answer := await wire.hear()):
                pass
            return answer

        def request(**params: Any) -> bytes:
            return json.dumps({"jsonrpc": "2.0", "id": 77, "method": "stdin.write", "params": params}).encode()

        answer = await send(request(id=job, offset=0) + b"\n" + every)
        assert answer["result"] == {"accepted": len(every), "offset": len(every)}
        assert (await send(request(id=job, data="x") + b"\ny"))["error"]["data"]["field"] == "data"
        assert (await send(b'{"jsonrpc":"2.0","id":1,"method":"agent.ping"}\n'))["error"]["code"] == -32600
        assert (await send(b"[" + request(id=job) + b"]\n"))["error"]["code"] == -32600
        assert (await send(b"\xff\n"))["error"]["code"] == -32700
        assert (await send(b""))["error"]["code"] == -32700
        assert (await send(request(id=job) + b"\n"))["result"] == {"accepted": 0, "offset": len(every)}
        await wire.ask("stdin.close", id=job)
        assert (await wire.follow(subscription)).stdout == every


async def test_only_pipe_is_an_input(wire: "Wire") -> None:
    error = await wire.refused("job.create", spec={"shell": ":", "stdin": "file"})
    assert (error["code"], error["data"]["field"]) == (40001, "stdin")


async def test_a_failed_start_leaves_nothing(wire: "Wire", shared: RunningAgent) -> None:
    """A job whose program does not exist has no spool and no FIFO afterwards."""
    error = await wire.refused("job.run", spec={"argv": ["/nonexistent"], "stdin": "pipe"})
    assert error["code"] == 42202
    job = error["data"]["job"]
    assert (await wire.refused("stdin.write", id=job, data="x"))["code"] == 41001
    assert not [*shared.home.input.glob(f"{job}*"), *shared.home.run_folder().glob(f"fifo/{job}*")]


async def test_input_ends_with_the_connection_if_asked(wire: "Wire", shared: RunningAgent, dial: "Dial") -> None:
    """By default it stays open for whoever comes next."""
    kept, kept_log = await begin(wire, "cat; echo over")
    ended, ended_log = await begin(wire, "cat; echo over")
    async with dial(shared) as other:
        await other.ask("stdin.write", id=kept, data="a\n")
        await other.ask("stdin.write", id=ended, data="b\n", close_on_disconnect=True)
    assert (await wire.follow(ended_log)).stdout == b"b\nover\n"
    await wire.ask("stdin.write", id=kept, data="c\n")
    await wire.ask("stdin.close", id=kept)
    assert (await wire.follow(kept_log)).stdout == b"a\nc\nover\n"


async def test_writing_is_control_and_is_audited(start_agent: Callable[..., RunningAgent], dial: "Dial") -> None:
    """A reader may not write; the audit log has who wrote and how much, in few lines, and never what."""
    agent = start_agent(config=FOR_OTHERS)
    async with dial(agent) as wire:
        token = (await wire.ask("token.create", name="eve", roles=["reader"]))["token"]
        job, subscription = await begin(wire, "cat")
        async with dial(agent, token=token) as viewer:
            assert (await viewer.refused("stdin.write", id=job, data="secret"))["code"] == 40301
            assert (await viewer.refused("stdin.close", id=job))["code"] == 40301
        for _ in range(50):
            await wire.ask("stdin.write", id=job, data="secret")
        await wire.ask("stdin.close", id=job)
        assert (await wire.follow(subscription)).stdout == b"secret" * 50
    text = agent.home.audit.read_text()
    assert "secret" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    written = [line for line in lines if line["method"] == "stdin.write" and line["decision"] == "allowed"]
    assert [line["bytes"] for line in written] == [6, 49 * 6]
    assert sum(line["decision"] == "denied" and line["principal"].endswith("eve") for line in lines) == 2


async def test_what_a_dead_job_left_is_removed(start: Callable[..., RunningAgent], home: "Home") -> None:
    """The next agent removes the spool of a job that does not run any more, and keeps that of one that does."""
    agent = start()
    async with agent.client() as client:
        job = await client.start((await client.create(JobSpec(argv=["cat"], stdin="pipe"))).id)
    agent.kill()
    left = home.input / "00000000000a.0"
    left.write_bytes(b"secret")
    agent.start()
    assert not left.exists()
    assert sorted(path.name for path in home.input.iterdir()) == [f"{job.id}.0", f"{job.id}.1"]
    async with agent.client() as client:
        assert await client.write(job.id, b"on") == 2
