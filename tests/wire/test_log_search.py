"""log.search and log.lines: every match with the number of its line, and lines by number, of real jobs."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobworker.protocol import decode_data

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Gate, Wire

BOTH = "for n in 1 2 3 4 5; do echo out $n; sleep 0.02; echo Err $n >&2; sleep 0.02; done"
LINES = 200_000


async def ended(wire: "Wire", shell: str, **spec: Any) -> str:
    job = await wire.run(shell=shell, **spec)
    await wire.ask("job.wait", id=job["id"])
    return str(job["id"])


async def search(wire: "Wire", job: str, pattern: str, **params: Any) -> tuple[list[dict[str, Any]], int]:
    """Return all matches, and in how many answers they came."""
    matches: list[dict[str, Any]] = []
    calls, start = 0, 0
    while True:
        answer = await wire.ask("log.search", id=job, pattern=pattern, **({"from": start} | params))
        matches += answer["matches"]
        calls, start = calls + 1, answer["next"]
        assert answer["count"] == len(answer["matches"])
        if answer["complete"]:
            return matches, calls


async def test_matches(wire: "Wire") -> None:
    """Offset, stream, line and text of each; by text or expression, in any case, of one stream, once a line."""
    job = await ended(wire, BOTH)
    (found,), _ = await search(wire, job, "out 2")
    assert found == {
        "offset": 12,
        "stream": "stdout",
        "line": 3,
        "length": 5,
        "data": "out 2",
        "encoding": "utf8",
        "at": 0,
        "cut": False,
    }
    for params, count in (
        ({"pattern": "err"}, 0),
        ({"pattern": "err", "case": False}, 5),
        ({"pattern": "r [1-3]$", "regex": True}, 3),
        ({"pattern": "t [1-3]$", "regex": True, "streams": ["stderr"]}, 0),
        ({"pattern": ".", "regex": True}, 50),
        ({"pattern": ".", "regex": True, "once": True, "limit": 3}, 10),
        ({"pattern": "[1-5]", "regex": True, "from": 30}, 5),
    ):
        name, rest = str(params["pattern"]), {key: value for key, value in params.items() if key != "pattern"}
        assert len((await search(wire, job, name, **rest))[0]) == count, params
    counted = await wire.ask("log.search", id=job, pattern="r", limit=0)
    assert (counted["count"], counted["matches"], counted["complete"]) == (10, [], True)


async def test_bytes_that_are_no_text(wire: "Wire") -> None:
    job = await ended(wire, r"printf 'a\377needle\n'; printf '%0300d needle äöü' 0")
    first, second = (await search(wire, job, "needle", excerpt=20))[0]
    assert decode_data(first["data"], first["encoding"]) == b"a\xffneedle"
    assert (first["encoding"], first["at"], second["cut"], second["line"]) == ("base64", 2, True, 2)
    assert second["data"][second["at"] :] == "needle äöü"[: len(second["data"]) - second["at"]]


async def test_many_lines(wire: "Wire") -> None:
    """As many answers as it takes; lines are found by number and around an offset."""
    job = await ended(wire, f"seq 1 {LINES}")
    found, calls = await search(wire, job, "77$", regex=True, limit=700)
    assert [match["line"] for match in found] == list(range(77, LINES + 1, 100))
    assert calls >= LINES // 100 // 700
    for match in found[::500]:
        answer = await wire.ask("log.lines", id=job, line=match["line"], count=2)
        assert (answer["complete"], answer["total"], answer["numbered_from"]) == (True, LINES, 0)
        first, second = answer["lines"]
        assert (first["line"], first["records"][0]["data"]) == (match["line"], f"{match['line']}\n")
        assert first["offset"] <= match["offset"] < first["end"] == second["offset"]
        around = await wire.ask("log.lines", id=job, around=match["offset"], count=5)
        assert [line["line"] for line in around["lines"]] == [match["line"] + step for step in range(-2, 3)]
    assert (await wire.ask("log.lines", id=job, line=LINES + 1))["lines"] == []
    assert len((await wire.ask("log.lines", id=job, count=10_000))["lines"]) == 10_000


async def test_a_job_that_runs(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """A line that has no end yet is searched, and again by the next search: no match is lost between two."""
    door = gate()
    run = await wire.ask("job.run", spec={"shell": f"echo one; printf 'two on'; {door.wait}; echo e"})
    await wire.until(run["subscription"], b"two on")
    job = run["job"]["id"]
    first = await wire.ask("log.search", id=job, pattern="on")
    assert ([match["offset"] for match in first["matches"]], first["next"], first["end"]) == ([0, 8], 4, 10)
    lines = await wire.ask("log.lines", id=job)
    assert [line["records"][0]["data"] for line in lines["lines"]] == ["one\n", "two on"]
    door.open()
    await wire.follow(run["subscription"])
    last = await wire.ask("log.search", id=job, pattern="one", **{"from": first["next"]})
    assert ([match["offset"] for match in last["matches"]], last["next"], last["complete"]) == ([8], 12, True)


async def test_a_bounded_log(wire: "Wire") -> None:
    """Lines are numbered from what was kept when they were first counted, and the answer has where that is."""
    job = await ended(wire, "seq 1 60000", log={"max_bytes": "64KiB"})
    kept = (await wire.ask("job.status", id=job))["log"]["first_offset"]
    answer = await wire.ask("log.search", id=job, pattern="^60000$", regex=True)
    (match,) = answer["matches"]
    assert answer["numbered_from"] == kept > 0
    lines = await wire.ask("log.lines", id=job, line=match["line"])
    assert (lines["total"], lines["lines"][0]["records"][0]["data"]) == (match["line"], "60000\n")
    assert (await wire.ask("log.lines", id=job))["lines"][0]["offset"] == kept


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("log.search", {"pattern": ""}, -32602, "pattern"),
    ("log.search", {"pattern": "(", "regex": True}, -32602, "RE2"),
    ("log.search", {"pattern": "x*", "regex": True}, -32602, "empty text"),
    ("log.search", {"pattern": "x", "limit": -1}, -32602, "limit"),
    ("log.search", {"pattern": "x", "limit": 10_001}, -32602, "limit"),
    ("log.search", {"pattern": "x", "excerpt": 0}, -32602, "excerpt"),
    ("log.search", {"pattern": "x", "streams": []}, -32602, "streams"),
    ("log.search", {"pattern": "x", "from": 61}, 41601, "0 to 60"),
    ("log.search", {"pattern": "x", "from": -1}, 41601, "0 to 60"),
    ("log.search", {"pattern": "x", "id": "nobody"}, 40401, ""),
    ("log.lines", {"line": 0}, -32602, "line"),
    ("log.lines", {"line": 1, "around": 1}, -32602, "one of them"),
    ("log.lines", {"count": 0}, -32602, "count"),
    ("log.lines", {"around": 61}, 41601, "0 to 60"),
]


async def test_bad_params(wire: "Wire") -> None:
    job = await ended(wire, BOTH)
    for method, params, code, text in BAD:
        error = await wire.refused(method, **{"id": job} | params)
        assert (error["code"], text in error["message"]) == (code, True), (method, params, error)


async def test_others_are_answered_meanwhile(shared: "RunningAgent", dial: "Dial", wire: "Wire") -> None:
    """Searches that take long delay neither other calls of the same connection, nor the searches of others."""
    job = await ended(wire, "yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -c 20000000")
    async with dial(shared) as busy:
        numbers = [await busy.begin("log.search", id=job, pattern="a", regex=True, limit=0) for _ in range(4)]
        ping = await busy.begin("agent.ping")
        assert (await busy.hear())["id"] == ping
        answers = [await busy.hear() for _ in numbers]
        assert {answer["id"] for answer in answers} == set(numbers)
        for answer in answers:
            assert 0 < answer["result"]["next"] < answer["result"]["end"], "of 19 million matches"
        # A caller that goes away while it searches leaves nothing open.
        await busy.begin("log.search", id=job, pattern="a", regex=True, limit=0)
        await busy.ask("agent.ping")
        busy.connection.transport.abort()
    files = await asyncio.to_thread(open_files, shared.pid, job)
    deadline = time.monotonic() + 60
    while files and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        files = await asyncio.to_thread(open_files, shared.pid, job)
    assert not files


def open_files(pid: int, job: str) -> list[str]:
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if job in path:
            found.append(path)
    return found
