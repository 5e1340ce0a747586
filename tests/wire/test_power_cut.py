"""A host that comes back after a power cut, made by hand: what is on the disk may be older here and newer there."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import RunningAgent
from tests.support.waiting import DEADLINE

from jobworker.client import Client
from jobworker.client.local import wait_gone
from jobworker.errors import InvalidState
from jobworker.linux.proc import boot_id
from jobworker.model import JobSpec, Reason, State

BEFORE = "00000000-0000-4000-8000-000000000000"  # the boot id that the host had
SLEEP = JobSpec(argv=["sleep", "1000"], timeout=None)


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has the pid which a job had before the cut, and by chance the same start time."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


async def down(agent: RunningAgent) -> None:
    """Have agent, keeper and pump leave; no job may run."""
    async with agent.client() as client:
        keeper = (await client.call("agent.info"))["keeper"]
    agent.end()
    for pid in (keeper["pid"], keeper["pump"]):
        assert await asyncio.to_thread(wait_gone, pid, DEADLINE)


def other_boot(agent: RunningAgent) -> None:
    """Have all that is on the disk be of another boot."""
    with sqlite3.connect(agent.home.database) as db:
        db.execute("UPDATE meta SET value = ? WHERE name IN ('boot', 'journal_boot')", (BEFORE,))
        boot = "'$.process.boot'"
        change = f"json_set(record, {boot}, ?) WHERE json_extract(record, {boot}) != ''"
        db.execute(f"UPDATE jobs SET record = {change}", (BEFORE,))
    db.close()


def write(journal: Path, *records: dict[str, object]) -> None:
    with journal.open("ab") as file:
        for record in records:
            file.write(json.dumps({"at": 1, **record}).encode() + b"\n")


def started(job: str, process: "subprocess.Popen[bytes]") -> list[dict[str, object]]:
    start = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    return [
        {"event": "launching", "id": job, "group": "", "namespace": False},
        {"event": "started", "id": job, "pid": process.pid, "start": start, "boottime": 5},
    ]


async def ended(client: Client, script: str) -> str:
    """Run a script to the end of its log and return the job's id."""
    job = await client.create(JobSpec(shell=script))
    await client.start(job.id)
    async for _ in await client.subscribe(job.id):
        pass
    return (await client.wait(job.id)).id


async def text(client: Client, job: str) -> bytes:
    return b"".join([chunk.data async for chunk in await client.subscribe(job)])


async def test_a_journal_that_is_ahead_of_the_table(
    start: Callable[..., RunningAgent], stranger: "subprocess.Popen[bytes]"
) -> None:
    """What ran is lost, what had ended has its status, and no process of this boot is taken for a job of that one."""
    agent = start()
    async with agent.client() as client:
        ran, over = [(await client.create(SLEEP)).id for _ in range(2)]
    await down(agent)
    write(
        agent.home.journal,
        {"event": "opened", "v": 1, "pid": 1, "boot": BEFORE},
        *started(ran, stranger),
        *started(over, stranger),
        {"event": "ended", "id": over, "code": 7, "signal": None, "boottime": 6, "left": True},
    )
    agent.start()
    async with agent.client() as client:
        assert (await client.status(ran)).state == State.LOST
        exit_ = (await client.status(over)).exit
        assert exit_ is not None
        assert (exit_.code, exit_.reason) == (7, Reason.FINISHED)
        for job in (ran, over):
            with pytest.raises(InvalidState):
                await client.stop(job)
            async for _ in await client.subscribe(job):
                pass
    assert stranger.poll() is None


@pytest.mark.parametrize("tail", [b"", b"\0" * 100_000, b'{"event":"started","id":"'], ids=["short", "zeros", "torn"])
async def test_a_table_that_is_ahead_of_the_journal(start: Callable[..., RunningAgent], tail: bytes) -> None:
    """What the table knows stays; what happens from now on is found after the next restart as well."""
    agent = start()
    async with agent.client() as client:
        jobs = [await ended(client, f"exit {code}") for code in range(1, 20)]
    await down(agent)
    data = agent.home.journal.read_bytes()
    agent.home.journal.write_bytes(data[: len(data) // 3] + tail)
    other_boot(agent)
    agent.start()
    async with agent.client() as client:
        await client.start((await client.create(SLEEP)).id)
        control = await client.start(
            (await client.create(JobSpec(shell="trap 'exit 77' USR1; while :; do sleep 0.01; done"))).id
        )
    agent.kill()
    assert control.pid is not None
    os.kill(control.pid, 10)
    agent.start()
    async with agent.client() as client:
        exit_ = (await client.wait(control.id, DEADLINE)).exit
        assert exit_ is not None
        assert exit_.code == 77
        for code, job in enumerate(jobs, 1):
            exit_ = (await client.status(job)).exit
            assert exit_ is not None
            assert exit_.code == code


async def test_what_was_about_to_start_is_lost(start: Callable[..., RunningAgent]) -> None:
    """With durability "power" the table knows of a launch that the journal lost: there is no second one."""
    agent = start()
    async with agent.client() as client:
        about, created = [(await client.create(SLEEP)).id for _ in range(2)]
    await down(agent)
    with sqlite3.connect(agent.home.database) as db:
        change = "UPDATE jobs SET live = 1, record = json_set(record, '$.process.boot', ?) WHERE id = ?"
        db.execute(change, (BEFORE, about))
    db.close()
    agent.start()
    async with agent.client() as client:
        assert (await client.status(about)).state == State.LOST
        assert (await client.status(created)).state == State.CREATED
        with pytest.raises(InvalidState):
            await client.start(about)


async def test_a_log_that_lost_bytes_has_a_gap(start: Callable[..., RunningAgent]) -> None:
    """By default a closed log may have lost its end, or a page in between; it serves a gap and no zeros."""
    agent = start()
    async with agent.client() as client:
        short, holed, whole = [await ended(client, "yes line | head -c 20000") for _ in range(3)]
        before = await text(client, whole)
    await down(agent)
    os.truncate(agent.home.logs / short / "out", 12_345)
    out = agent.home.logs / holed / "out"
    with out.open("r+b") as file:
        file.truncate(4096)
        file.seek(8192)
        file.write(before[8192:])
    other_boot(agent)
    agent.start()
    async with agent.client() as client:
        assert await text(client, whole) == before
        assert await text(client, short) == before[:12_345]
        log = (await client.status(short)).log
        assert (log.bytes, log.truncated) == (12_345, True)
        follower = await client.subscribe(holed)
        chunks = [chunk async for chunk in follower]
        assert b"".join(chunk.data for chunk in chunks) == before[:4096] + before[8192:]
        assert [(gap.from_, gap.to, gap.reason) for gap in follower.gaps] == [(4096, 8192, "power_cut")]
        log = (await client.status(holed)).log
        assert (log.bytes, log.truncated) == (20_000, True)
        assert not (await client.status(whole)).log.truncated


async def test_zeros_at_the_end_of_an_open_log_are_not_served(start: Callable[..., RunningAgent]) -> None:
    """The size of a file, and the index, can reach the disk before the last bytes do."""
    agent = start()
    async with agent.client() as client:
        job = (await client.create(JobSpec(shell="echo first; echo second; exec sleep 1000", timeout=None))).id
        await client.start(job)
        received = b""
        async for chunk in await client.subscribe(job):
            received += chunk.data
            if received == b"first\nsecond\n":
                break
        pid = (await client.status(job)).pid
        keeper = (await client.call("agent.info"))["keeper"]
    assert pid is not None
    agent.kill()
    for dead in (keeper["pid"], keeper["pump"], pid):
        os.kill(dead, signal.SIGKILL)
        assert await asyncio.to_thread(wait_gone, dead, DEADLINE)
    out = agent.home.logs / job / "out"
    assert out.read_bytes() == b"first\nsecond\n"
    with out.open("r+b") as file:
        file.seek(len(b"first\n"))
        file.write(bytes(len(b"second\n")))
    other_boot(agent)
    journal = agent.home.journal
    journal.write_bytes(journal.read_bytes().replace(boot_id().encode(), BEFORE.encode()))
    agent.start()
    async with agent.client() as client:
        assert (await client.status(job)).state == State.LOST
        assert await text(client, job) == b"first\n"
        log = (await client.status(job)).log
        assert (log.bytes, log.truncated) == (len(b"first\n"), True)
