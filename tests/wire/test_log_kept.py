"""How much of a job's output is kept, and whether its streams are merged, by `spec.log`, over the wire."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.wire import Wire

KIB = 1024


async def test_the_oldest_are_dropped(wire: "Wire") -> None:
    """A subscriber from byte 0 gets the gap and the rest, and the job has the offset at which its log begins."""
    job = await wire.run(shell="seq 100000", log={"max_bytes": "64KiB"})
    await wire.follow(await wire.subscribe(job["id"]))  # until all that is dropped has been
    log = await wire.follow(await wire.subscribe(job["id"]))
    whole = b"".join(b"%d\n" % number for number in range(1, 100001))
    status = await wire.ask("job.status", id=job["id"])
    first = status["log"]["first_offset"]
    assert status["log"] == {"bytes": len(whole), "first_offset": first, "truncated": False}
    assert len(whole) - first <= 64 * KIB
    assert log.gaps == [(0, first, "dropped")]
    assert log.stdout == whole[first:]


async def test_the_first_offset_of_a_running_job(wire: "Wire") -> None:
    """`log.first_offset` is current while the log is written."""
    job = await wire.run(shell="seq 100000; echo end; exec sleep 1000", log={"max_bytes": 64 * KIB})
    await wire.until(await wire.subscribe(job["id"]), b"end\n")
    log = (await wire.ask("job.status", id=job["id"]))["log"]
    assert 0 < log["bytes"] - log["first_offset"] <= 64 * KIB
    assert not log["truncated"]
    await wire.ask("job.stop", id=job["id"], stop={"strategy": "kill"})


async def test_the_newest_are_refused(wire: "Wire") -> None:
    """The job runs to its end, and its log is the first bytes and a gap."""
    log = {"max_bytes": "64KiB", "keep": "oldest"}
    job = await wire.run(shell="seq 100000; exit 3", log=log)
    assert (await wire.ask("job.wait", id=job["id"]))["exit"]["code"] == 3
    seen = await wire.follow(await wire.subscribe(job["id"]))
    whole = b"".join(b"%d\n" % number for number in range(1, 100001))
    assert seen.stdout == whole[: 64 * KIB]
    assert {reason for _, _, reason in seen.gaps} == {"refused"}
    assert (seen.gaps[0][0], seen.gaps[-1][1]) == (64 * KIB, len(whole))
    status = await wire.ask("job.status", id=job["id"])
    assert status["log"] == {"bytes": len(whole), "first_offset": 0, "truncated": True}


async def test_merged_streams(wire: "Wire") -> None:
    """One stream, stdout, in the order in which it was written."""
    shell = "i=0; while [ $i -lt 500 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"
    run = await wire.ask("job.run", spec={"shell": shell, "log": {"merge": True}})
    log = await wire.follow(run["subscription"])
    assert log.stdout == b"".join(b"o%d\ne%d\n" % (number, number) for number in range(500))
    assert log.text["stderr"] == b""


@pytest.mark.parametrize(
    ("log", "field", "words"),
    [
        ({"max_bytes": "64KX"}, "log.max_bytes", ["'64KX'", "64MiB"]),
        ({"max_bytes": "100"}, "log.max_bytes", ["100", "64KiB"]),
        ({"max_bytes": 0}, "log.max_bytes", ["0", "65536"]),
        ({"max_bytes": "63KiB"}, "log.max_bytes", ["64512", "65536"]),
        ({"max_bytes": -1}, "log.max_bytes", ["-1", "expected 0 to"]),
        ({"max_bytes": "9" * 400 + "TiB"}, "log.max_bytes", ["64MiB"]),
        ({"keep": "both"}, "log.keep", ["'both'", '"newest" or "oldest"']),
    ],
    ids=str,
)
async def test_a_bound_that_is_none(wire: "Wire", log: dict[str, Any], field: str, words: list[str]) -> None:
    """40001 with the field, what was given and what was expected."""
    error = await wire.refused("job.create", spec={"shell": ":", "log": log})
    assert (error["code"], error["data"]["field"]) == (40001, field)
    assert all(word in error["message"] for word in words), error["message"]


@pytest.mark.parametrize("bound", [65536, "64KiB", "64 KiB", "65536B", "0.5MiB", "66k", "1G", "2TiB"])
async def test_sizes(wire: "Wire", bound: int | str) -> None:
    """Bytes, or a text with a unit."""
    job = await wire.ask("job.create", spec={"shell": ":", "log": {"max_bytes": bound}})
    assert job["spec"]["log"] == {"max_bytes": bound}


async def test_how_the_bound_holds_here(wire: "Wire") -> None:
    """`agent.info` has whether the oldest bytes can be dropped."""
    assert (await wire.ask("agent.info"))["capabilities"]["log_bound"] in ("drop", "refuse")
