"""Time limits of every kind on real jobs: the one that is due first ends the job, and is named."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import DEADLINE

from jobworker.host.wall_clock import WallClock

if TYPE_CHECKING:
    from tests.support.wire import Gate, Wire

SILENT = "echo up; exec sleep 1000"
BUSY = "while :; do :; done"


def limit(policy: str, **options: Any) -> dict[str, Any]:
    return {"timeout_policies": [{"policy": policy, "options": options}]}


async def end(wire: "Wire", job: dict[str, Any]) -> tuple[str, str, str]:
    ended = (await wire.ask("job.wait", id=job["id"]))["exit"]
    return ended["reason"], ended["by"], ended["message"]


@pytest.mark.parametrize(
    ("shell", "spec", "by"),
    [
        (SILENT, {"idle_timeout": "300ms"}, "idle"),
        (SILENT, limit("idle", limit="300ms", cpu=True), "idle"),
        (BUSY, limit("cpu", limit="300ms"), "cpu"),
        (SILENT, {"idle_timeout": "300ms", "timeout": "1h", **limit("cpu", limit=1000)}, "idle"),
        (BUSY, {"idle_timeout": "1h", "timeout": "300ms", **limit("cpu", limit=1000)}, "total"),
    ],
    ids=str,
)
async def test_each_kind(wire: "Wire", shell: str, spec: dict[str, Any], by: str) -> None:
    reason, policy, message = await end(wire, await wire.run(shell=shell, **spec))
    assert (reason, policy) == ("timeout", by)
    assert message.startswith("timed out ")


async def test_a_job_that_speaks_is_not_idle(wire: "Wire") -> None:
    """It outlives its limit many times over, and ends when it falls silent."""
    job = await wire.run(shell="for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.2; done; sleep 1000", idle_timeout="1s")
    assert (await end(wire, job))[:2] == ("timeout", "idle")
    log = await wire.follow(await wire.subscribe(job["id"]))
    assert log.stdout == b"1\n2\n3\n4\n5\n6\n7\n8\n"


async def test_a_job_that_computes_is_not_idle_with_cpu(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    """With `cpu` a silent job runs on as long as it uses CPU time."""
    door = gate()
    shell = f"({BUSY}) & {door.wait}; kill $!; exit 3"
    job = await wire.run(shell=shell, **limit("idle", limit="300ms", cpu=True))
    silent = await wire.run(shell=SILENT, **limit("idle", limit="900ms"))
    assert (await end(wire, silent))[1] == "idle"
    assert (await wire.ask("job.status", id=job["id"]))["state"] == "running"
    door.open()
    assert (await end(wire, job))[0] == "finished"


async def test_a_moment_of_the_wall_clock(wire: "Wire") -> None:
    at = datetime.fromtimestamp(time.time() + 0.4, UTC).isoformat()
    assert (await end(wire, await wire.run(shell=SILENT, **limit("deadline", at=at))))[:2] == ("timeout", "deadline")
    assert time.time() >= datetime.fromisoformat(at).timestamp()


async def test_the_clock_is_set(tmp_path: Path) -> None:
    """Waiting parts are woken at once; the test sets the clock to its current time."""
    clock, wakeup = WallClock(), asyncio.Event()
    clock.waiters.add(wakeup)
    try:
        for _ in range(2):
            try:
                time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))
            except PermissionError:
                pytest.skip("the clock may not be set here")
            async with asyncio.timeout(DEADLINE):
                await wakeup.wait()
            wakeup.clear()
    finally:
        clock.close()


async def test_a_limit_is_moved(wire: "Wire") -> None:
    """Sooner, later, away; by its owner, and for a job that has not ended."""
    job = await wire.run(shell=SILENT, timeout="1h", labels={"a": "b"})
    moved = await wire.ask("job.update", id=job["id"], timeout="2h", labels={"c": "d"})
    assert (moved["state"], moved["spec"]["timeout"], moved["labels"]) == ("running", "2h", {"c": "d"})
    assert moved["revision"] > job["revision"]
    away = await wire.ask("job.update", id=job["id"], timeout=None)
    assert (away["spec"]["timeout"], away["labels"]) == (None, {"c": "d"})
    await wire.ask("job.update", id=job["id"], idle_timeout="100ms")
    assert (await end(wire, job))[:2] == ("timeout", "idle")
    error = await wire.refused("job.update", id=job["id"], timeout="3h")
    assert (error["code"], error["data"]["state"]) == (40901, "exited")


async def test_a_limit_that_was_near_is_moved_away(wire: "Wire", gate: Callable[[], "Gate"]) -> None:
    door = gate()
    job = await wire.run(shell=f"{door.wait}; exit 3", timeout="1s")
    other = await wire.run(shell=SILENT, timeout="1500ms")
    await wire.ask("job.update", id=job["id"], timeout="1h")
    assert (await end(wire, other))[1] == "total"
    door.open()
    assert (await end(wire, job))[0] == "finished"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"timeout": -1}, 40001),
        ({"timeout": "soon"}, 40001),
        ({"timeout": 0}, 40001),
        ({"timeout_policies": [{"policy": "moon"}]}, 40001),
        ({"timeout_policies": [{"policy": "deadline", "options": {"at": "noon"}}]}, 42201),
        ({"timeout": []}, -32602),
        ({"argv": ["true"]}, -32602),
    ],
    ids=str,
)
async def test_an_update_that_is_none(wire: "Wire", params: dict[str, Any], code: int) -> None:
    """It is refused, and the job is as it was."""
    job = await wire.ask("job.create", spec={"shell": ":", "timeout": "5s"})
    assert (await wire.refused("job.update", id=job["id"], **params))["code"] == code
    assert await wire.ask("job.status", id=job["id"]) == job
