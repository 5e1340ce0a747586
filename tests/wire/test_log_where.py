"""log.subscribe by lines, by time and by stream, log.read by page, and raw bytes in binary frames."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.log_writer import Writer
from tests.support.waiting import DEADLINE

from jobworker.protocol import decode_data

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Gate, Wire

BOTH = "for n in 1 2 3 4 5; do echo out $n; sleep 0.02; echo err $n >&2; sleep 0.02; done"
ALL_BYTES = bytes(range(256))


async def ended(wire: "Wire", shell: str, **spec: Any) -> str:
    job = await wire.run(shell=shell, **spec)
    await wire.ask("job.wait", id=job["id"])
    await wire.follow(await wire.subscribe(job["id"]))
    return str(job["id"])


@pytest.mark.parametrize(
    ("tail", "out", "err"),
    [(0, b"", b""), (1, b"", b"err 5\n"), (3, b"out 5\n", b"err 4\nerr 5\n"), (99, None, None)],
)
async def test_the_last_lines(wire: "Wire", tail: int, out: bytes | None, err: bytes | None) -> None:
    """Of both streams in order of arrival; the result has the offset of the first byte."""
    job = await ended(wire, BOTH)
    answer = await wire.ask("log.subscribe", id=job, tail=tail)
    log = await wire.follow(answer["subscription"])
    whole = b"".join(b"out %d\n" % n for n in range(1, 6))
    assert log.text["stdout"] == (whole if out is None else out)
    assert log.text["stderr"] == (whole.replace(b"out", b"err") if err is None else err)
    assert log.end is not None
    assert answer["offset"] == 60 - sum(len(frame["bytes"]) for frame in log.frames)


@pytest.mark.parametrize(("stream", "said"), [("stdout", "out"), ("stderr", "err")])
async def test_one_stream(wire: "Wire", stream: str, said: str) -> None:
    """Nothing of the other one, at the offsets of the whole log, up to its end."""
    job = await ended(wire, BOTH)
    log = await wire.follow(await wire.subscribe(job, streams=[stream]))
    assert log.text[stream] == b"".join(b"%s %d\n" % (said.encode(), n) for n in range(1, 6))
    assert log.text["stderr" if stream == "stdout" else "stdout"] == b""
    assert log.end is not None
    assert log.end["offset"] == 60
    last = await wire.follow(await wire.subscribe(job, streams=[stream], tail=2))
    assert last.text[stream] == b"%s 4\n%s 5\n" % (said.encode(), said.encode())


async def test_one_stream_while_the_other_floods(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """A line of stderr arrives among megabytes of stdout that are skipped, also for a live subscriber."""
    door = gate()
    shell = f"yes | head -c 20000000; echo one >&2; {door.wait}; yes | head -c 20000000; echo two >&2"
    run = await wire.ask("job.create", spec={"shell": shell})
    name = await wire.subscribe(run["id"], streams=["stderr"])
    await wire.ask("job.start", id=run["id"])
    log = wire.logs[name]
    while b"one\n" not in log.text["stderr"]:
        await wire.hear()
    door.open()
    log = await wire.follow(name)
    assert log.text == {"stdout": b"", "stderr": b"one\ntwo\n"}
    assert log.frames[0]["offset"] == 20_000_000
    assert log.end is not None
    assert log.end["offset"] == 40_000_008


async def test_since_a_time(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """What arrived then or later: by the time of a record, by a time of day, or so long ago."""
    door = gate()
    job = (await wire.run(shell=f"echo one; {door.wait}; echo two"))["id"]
    log = await wire.until(await wire.subscribe(job), b"one\n")
    door.open()
    await wire.ask("job.wait", id=job)
    log = await wire.follow(await wire.subscribe(job, arrivals=True))
    second = log.frames[1]["time"]
    assert (await wire.follow(await wire.subscribe(job, since=second))).stdout == b"two\n"
    assert (await wire.follow(await wire.subscribe(job, until=second, follow=False))).stdout == b"one\n"
    assert (await wire.follow(await wire.subscribe(job, since="1h"))).stdout == b"one\ntwo\n"
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert (await wire.follow(await wire.subscribe(job, since=later))).stdout == b""
    before = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert (await wire.follow(await wire.subscribe(job, until=before, follow=False))).stdout == b""
    both = await wire.subscribe(job, since=before, until=later, follow=False)
    assert (await wire.follow(both)).stdout == b"one\ntwo\n"


async def test_each_arrival_has_its_time(wire: "Wire") -> None:
    """With `arrivals` each has its own frame; else adjacent ones share a frame."""
    job = await ended(wire, "for n in 1 2 3; do echo $n; sleep 0.05; done")
    log = await wire.follow(await wire.subscribe(job, arrivals=True))
    assert [frame["bytes"] for frame in log.frames] == [b"1\n", b"2\n", b"3\n"]
    times = [frame["time"] for frame in log.frames]
    assert times == sorted(set(times))
    assert [frame["bytes"] for frame in (await wire.follow(await wire.subscribe(job))).frames] == [b"1\n2\n3\n"]
    page = await wire.ask("log.read", id=job, arrivals=True)
    assert [(record["data"], record["time"]) for record in page["records"]] == [
        *zip(["1\n", "2\n", "3\n"], times, strict=True)
    ]
    assert [record["data"] for record in (await wire.ask("log.read", id=job))["records"]] == ["1\n2\n3\n"]


async def test_a_page_of_arrivals_is_bounded(wire: "Wire", shared: "RunningAgent") -> None:
    """However small they are: the next page goes on."""
    job = await ended(wire, "echo one")
    folder = shared.home.logs / job
    shutil.rmtree(folder)
    log = Writer(folder)
    for _ in range(5000):
        log.arrive(0, b"x")
    first = await wire.ask("log.read", id=job, arrivals=True)
    assert (len(first["records"]), first["next"], first["end"]) == (4096, 4096, 5000)
    second = await wire.ask("log.read", id=job, arrivals=True, offset=first["next"])
    assert (len(second["records"]), second["next"]) == (904, 5000)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"tail": -1}, "tail"),
        ({"tail": "1"}, "tail"),
        ({"tail": 1, "offset": 0}, "tail"),
        ({"since": "1h", "tail": 1}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2030-01-31T12:00:00"}, "since"),
        ({"since": -5}, "since"),
        ({"since": 1e300}, "since"),
        ({"until": "1h"}, "until"),
        ({"streams": []}, "streams"),
        ({"streams": ["stdin"]}, "streams[0]"),
        ({"streams": "stdout"}, "streams"),
        ({"encoding": "binary"}, "encoding"),
        ({"offset": 1.5}, "offset"),
    ],
    ids=str,
)
async def test_bad_params(wire: "Wire", params: dict[str, Any], field: str) -> None:
    job = await wire.create(shell=":")
    error = await wire.refused("log.subscribe", id=job, **params)
    assert (error["code"], error["data"]["field"]) == (-32602, field)


async def test_pages(wire: "Wire") -> None:
    """From page to page every byte once, in records of the shape of log.data; at the end an empty one."""
    job = await ended(wire, BOTH)
    text: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    at, pages = 0, 0
    while True:
        page = await wire.ask("log.read", id=job, offset=at, max_bytes=7)
        assert page["end"] == 60
        if not page["records"]:
            break
        for record in page["records"]:
            assert record["job"] == job
            assert record["offset"] == at
            data = decode_data(record["data"], record["encoding"])
            text[record["stream"]] += data
            at += len(data)
        assert page["next"] == at
        pages += 1
    assert (at, pages) == (60, 9)
    assert text["stdout"] == text["stderr"].replace(b"err", b"out")
    errors = await wire.ask("log.read", id=job, streams=["stderr"])
    assert b"".join(decode_data(r["data"], r["encoding"]) for r in errors["records"]) == text["stderr"]
    assert errors["next"] == 60


async def test_a_page_does_not_cut_a_character(wire: "Wire") -> None:
    job = await ended(wire, "printf 'äöü\\377'")
    first = await wire.ask("log.read", id=job, max_bytes=3)
    assert [(r["data"], r["encoding"]) for r in first["records"]] == [("ä", "utf8")]
    assert first["next"] == 2
    half = await wire.ask("log.read", id=job, max_bytes=1)
    assert half["records"][0]["encoding"] == "base64"
    assert half["next"] == 1


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"offset": -1}, 41601),
        ({"offset": 61}, 41601),
        ({"max_bytes": 0}, -32602),
        ({"max_bytes": 2**40}, -32602),
        ({"tail": 1}, -32602),
        ({"id": "nobody"}, 40401),
    ],
    ids=str,
)
async def test_bad_pages(wire: "Wire", params: dict[str, Any], code: int) -> None:
    job = await ended(wire, BOTH)
    assert (await wire.refused("log.read", **{"id": job} | params))["code"] == code


async def test_a_bounded_log(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """A late reader gets exactly the range that is gone and the rest; a live subscriber loses nothing."""
    door = gate()
    shell = f"seq 1 30000; {door.wait}; seq 30001 60000"
    run = await wire.ask("job.run", spec={"shell": shell, "log": {"max_bytes": "64KiB"}})
    log = await wire.until(run["subscription"], b"\n30000\n")
    door.open()
    live = await wire.follow(run["subscription"])
    whole = "".join(f"{n}\n" for n in range(1, 60001)).encode()
    passed = [(start, end) for start, end, reason in live.gaps if reason == "dropped"]
    assert len(passed) == len(live.gaps)
    job = run["job"]["id"]
    late = await wire.follow(await wire.subscribe(job))
    (start, end, reason), *more = late.gaps
    assert (start, reason, more) == (0, "dropped", [])
    assert late.stdout == whole[end:]
    assert 0 < len(late.stdout) <= 65536
    assert (await wire.ask("job.status", id=job))["log"]["first_offset"] == end
    page = await wire.ask("log.read", id=job, offset=5, max_bytes=10)
    assert page["records"][0] == {"job": job, "from": 5, "to": end, "reason": "dropped"}
    inside = await wire.follow(await wire.subscribe(job, offset=7))
    assert inside.gaps == [(7, end, "dropped")]
    assert log is live


async def test_binary_frames(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """Raw bytes after one line of JSON; everything else is text as ever."""
    shell = "python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256))*1000)'; echo no >&2"
    job = await ended(wire, shell)
    async with dial(shared, subprotocols=["jobworker.v1.binary"]) as binary:
        assert binary.connection.subprotocol == "jobworker.v1.binary"
        log = await binary.follow(await binary.subscribe(job))
        assert log.text == {"stdout": ALL_BYTES * 1000, "stderr": b"no\n"}
        at = 0
        for frame in log.frames:
            assert set(frame) == {"subscription", "job", "offset", "stream", "time", "bytes"}
            assert frame["offset"] == at
            at += len(frame["bytes"])
        run = await binary.ask("job.run", spec={"argv": ["printf", "ä"]})
        assert (await binary.follow(run["subscription"])).stdout == "ä".encode()
    async with dial(shared, subprotocols=["jobworker.v1", "jobworker.v1.binary"]) as first:
        assert first.connection.subprotocol == "jobworker.v1"


async def test_readers_at_once_get_the_same(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """Text, base64 and binary, one stream or both, by many at once: each as if it were alone."""
    create = await wire.create(shell="seq 1 20000; seq 1 5000 >&2; printf '\\377'")
    async with dial(shared, subprotocols=["jobworker.v1.binary"]) as binary:
        names = [await wire.subscribe(create, encoding=kind) for kind in ("auto", "auto", "base64")]
        names += [await wire.subscribe(create, streams=["stderr"])]
        raw = [await binary.subscribe(create) for _ in range(3)]
        await wire.ask("job.start", id=create)
        logs = [await wire.follow(name) for name in names] + [await binary.follow(name) for name in raw]
    out = "".join(f"{n}\n" for n in range(1, 20001)).encode() + b"\377"
    err = "".join(f"{n}\n" for n in range(1, 5001)).encode()
    for index, log in enumerate(logs):
        assert log.text["stderr"] == err
        assert log.text["stdout"] == (b"" if index == 3 else out)
        assert log.end is not None
        assert log.end["offset"] == len(out) + len(err)


async def test_answers_come_between(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """A call on a connection with many busy subscriptions is answered long before they are done."""
    job = await ended(wire, "yes 0123456789abcdef | head -c 4000000")
    async with dial(shared) as busy:
        for _ in range(40):
            await busy.subscribe(job)
        number = await busy.begin("agent.ping")
        frames = 0
        while (await busy.hear()).get("id") != number:
            frames += 1
        assert frames < 40 * 4_000_000 // 65536 // 4
        busy.connection.transport.abort()


async def test_no_watches_left(start_agent: "Callable[..., RunningAgent]", dial: "Dial") -> None:
    """If inotify is refused, logs are polled, and agent.info has `poll`."""
    refuse = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    under = ["unshare", "-Ur", "sh", "-c", refuse, "sh"]
    tried = await asyncio.to_thread(subprocess.run, [*under, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("no user namespace can be made here")
    agent = start_agent(under=under)
    async with dial(agent) as wire:
        assert (await wire.ask("agent.info"))["capabilities"]["notify"] == "poll"
        run = await wire.ask("job.run", spec={"shell": "echo one; sleep 0.3; echo two"})
        log = await wire.follow(run["subscription"])
        assert log.stdout == b"one\ntwo\n"


async def test_the_client_reads_so_too(shared: "RunningAgent", wire: "Wire") -> None:
    """The library gives all of it: lines, times, streams, pages."""
    job = await ended(wire, BOTH)
    async with shared.client() as client:
        tail = await client.subscribe(job, tail=2, streams=["stdout"])
        assert [chunk.data async for chunk in tail] == [b"out 4\n", b"out 5\n"]
        since = await client.subscribe(job, since="1h", follow=False)
        assert sum([len(chunk.data) async for chunk in since]) == 60
        page = await client.read(job, 6, 12)
        assert [(chunk.offset, chunk.data) for chunk in page.chunks] == [(6, b"err 1\n"), (12, b"out 2\n")]
        assert (page.next, page.end, page.gaps) == (18, 60, [])


async def test_a_client_that_goes_on_after_tail(agent: "RunningAgent", gate: Callable[[], "Gate"]) -> None:
    """After a lost connection it resumes at its byte, not at the last lines again."""
    door = gate()
    async with agent.client() as client, agent.client() as starter:
        from jobworker.model import JobSpec

        job = await starter.create(JobSpec(shell=f"seq 1 100; {door.wait}; seq 101 103"))
        await starter.start(job.id)
        first = await starter.subscribe(job.id)
        async for chunk in first:
            if chunk.data.endswith(b"100\n"):
                break
        subscription = await client.subscribe(job.id, tail=2)
        said = b""

        async def follow() -> None:
            nonlocal said
            async for chunk in subscription:
                said += chunk.data

        following = asyncio.create_task(follow())
        while said != b"99\n100\n":  # noqa: ASYNC110
            await asyncio.sleep(0)
        agent.kill()
        agent.start()
        door.open()
        async with asyncio.timeout(DEADLINE):
            await following
        assert said == b"99\n100\n101\n102\n103\n"
        assert json.dumps(subscription.gaps) == "[]"


async def test_a_reader_that_breaks_off_delays_no_other(shared: "RunningAgent", wire: "Wire") -> None:
    """Output that still comes for it is dropped, and another iterator of the same client continues."""
    from jobworker.model import JobSpec

    async with shared.client() as client:
        flood = await client.run(JobSpec(shell="yes | head -c 30000000"))
        async for _ in flood:
            break
        events = await client.events()
        job = await client.run(JobSpec(argv=["true"]))
        async with asyncio.timeout(DEADLINE):
            async for event in events:
                if event.job.id == job.job.id and event.event == "exited":
                    break
