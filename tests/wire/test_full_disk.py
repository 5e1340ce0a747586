"""A full disk: jobs wait, or drop output if the spec has that; no loss is silent; the agent answers."""

import asyncio
import errno
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import DEADLINE, RunningAgent
from tests.torture.victim import collect

from jobworker.client import Client
from jobworker.client.local import wait_gone
from jobworker.errors import DiskFull
from jobworker.model import Job, JobSpec, LogSpec, Reason, State
from jobworker.paths import Home

LINES = 400_000
SAID = b"".join(b"%d\n" % number for number in range(1, LINES + 1))  # 2.7 MB
SIZE = 40_000_000  # the job table and its log take several MB of it


class Fifo:
    """Controls a job through a FIFO, or reads from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)

    def say(self) -> None:
        os.write(self._fd, b"\n")

    async def hear(self) -> None:
        heard = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, heard.set)
        async with asyncio.timeout(DEADLINE):
            await heard.wait()
        asyncio.get_running_loop().remove_reader(self._fd)
        os.read(self._fd, 100)

    def close(self) -> None:
        os.close(self._fd)


def until_full(take: Callable[[], object]) -> None:
    """Fill the disk."""
    try:
        while True:
            take()
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017  # the last of many


class Disk:
    """A small file system with a home on it, which can be filled."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self._filler = folder / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            until_full(lambda: file.write(bytes(4096)))

    def empty(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(mounted: Callable[[str], Path]) -> Disk:
    return Disk(mounted(f"size={SIZE}"))


@pytest.fixture
async def agent(disk: Disk) -> AsyncIterator[RunningAgent]:
    agent = RunningAgent(disk.home)
    agent.start()
    yield agent
    await agent.clean()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Fifo]:
    fifo = Fifo(tmp_path / "gate")
    yield fifo
    fifo.close()


@pytest.fixture
def done(tmp_path: Path) -> Iterator[Fifo]:
    fifo = Fifo(tmp_path / "done")
    yield fifo
    fifo.close()


async def start(client: Client, shell: str, on_full: str = "wait") -> Job:
    spec = JobSpec(shell=shell, timeout=None, log=LogSpec(on_full=on_full))
    return await client.start((await client.create(spec)).id)


async def refused_at_last(client: Client, jobs: list[Job]) -> Job:
    """Start jobs until one is refused, which the last room in the journal does not prevent for long; return it."""
    for job in jobs:
        try:
            await client.start(job.id)
        except DiskFull:
            return job
    raise AssertionError("no start was refused")


async def until_refused(client: Client) -> None:
    for _ in range(1000):
        await client.create(JobSpec(shell=":", labels={"filler": "x" * 1000}))


async def test_a_job_waits_for_room(agent: RunningAgent, disk: Disk, gate: Fifo) -> None:
    """It loses nothing; stop and status work meanwhile, with an exact exit, also by an agent that was killed."""
    async with agent.client() as client:
        bystander = await start(client, "exec sleep 1000")
        job = await start(client, f"read _ < {gate.path}; seq {LINES}; seq {LINES} >&2; exit 5")
        created = [await client.create(JobSpec(shell="echo started")) for _ in range(300)]
        disk.fill()
        gate.say()
        refused = await refused_at_last(client, created)
        with pytest.raises(DiskFull):  # one of the writes
            await until_refused(client)
    agent.kill()
    agent.start()
    async with agent.client() as client:
        assert (await client.status(job.id)).state == State.RUNNING
        stopped = (await client.stop(bystander.id)).exit
        assert stopped is not None
        assert (stopped.signal, stopped.reason) == ("SIGTERM", Reason.STOPPED)
        disk.empty()
        assert await collect(await client.subscribe(job.id)) == {"stdout": SAID, "stderr": SAID}
        ended = await client.wait(job.id)
        assert ended.exit is not None
        assert (ended.exit.code, ended.log.bytes, ended.log.truncated) == (5, 2 * len(SAID), False)
        assert (await client.status(refused.id)).state == State.CREATED
        await client.start(refused.id)
        assert await collect(await client.subscribe(refused.id)) == {"stdout": b"started\n", "stderr": b""}


async def test_a_job_that_drops(agent: RunningAgent, disk: Disk, gate: Fifo, done: Fifo) -> None:
    """The job does not wait; gaps name each dropped byte, and later output is in the log."""
    shell = (
        f"echo > {done.path}; read _ < {gate.path}; seq {LINES}; echo > {done.path}; read _ < {gate.path}; echo tail"
    )
    async with agent.client() as client:
        job = await start(client, shell, "drop")
        follower = await client.subscribe(job.id)
        await done.hear()
        disk.fill()
        gate.say()
        await done.hear()
        disk.empty()
        gate.say()
        whole = SAID + b"tail\n"
        held = bytearray(len(whole))
        async for chunk in follower:
            held[chunk.offset : chunk.offset + len(chunk.data)] = chunk.data
        assert follower.offset == len(whole)
        assert follower.gaps
        for gap in follower.gaps:
            assert gap.reason == "disk_full"
            assert not any(held[gap.from_ : gap.to]), "a gap and bytes at the same place"
            held[gap.from_ : gap.to] = whole[gap.from_ : gap.to]
        assert held == whole
        ended = await client.status(job.id)
        assert (ended.log.truncated, ended.log.bytes) == (True, len(whole))


async def test_a_job_that_drops_ends_without_room(agent: RunningAgent, disk: Disk, gate: Fifo, done: Fifo) -> None:
    """Its log is closed and marked as truncated; the exit is known as soon as it can be written."""
    shell = f"echo > {done.path}; read _ < {gate.path}; seq {LINES}; echo > {done.path}; exit 5"
    async with agent.client() as client:
        job = await start(client, shell, "drop")
        await done.hear()
        disk.fill()
        gate.say()
        await done.hear()
        disk.empty()
        ended = await client.wait(job.id)
        assert ended.exit is not None
        assert ended.exit.code == 5
        subscription = await client.subscribe(job.id)
        async for chunk in subscription:
            assert SAID[chunk.offset :].startswith(chunk.data)
        assert subscription.end is not None
        assert (await client.status(job.id)).log.truncated


async def test_no_inode_is_left(mounted: Callable[[str], Path], gate: Fifo) -> None:
    """A log that cannot be created waits; the agent starts again, and answers."""
    folder = mounted("size=20m,nr_inodes=100")
    agent = RunningAgent(Home(folder / "home"))
    agent.start()
    async with agent.client() as client:
        job = await start(client, f"read _ < {gate.path}; seq {LINES}; exit 5")
        names = (folder / str(number) for number in itertools.count())
        until_full(lambda: next(names).touch())
        gate.say()
    agent.kill()
    agent.start()
    async with agent.client() as client:
        assert (await client.status(job.id)).state == State.RUNNING
        for name in folder.glob("[0-9]*"):
            name.unlink()
        assert await collect(await client.subscribe(job.id)) == {"stdout": SAID, "stderr": b""}
        ended = await client.wait(job.id)
        assert ended.exit is not None
        assert ended.exit.code == 5
    await agent.clean()


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


async def test_the_state_can_only_be_read(mounted: Callable[[str], Path], gate: Fifo) -> None:
    """The agent starts, serves what is there, stops what runs; it starts nothing until it can be written."""
    folder = mounted("size=20m") / "home"
    agent = RunningAgent(Home(folder))
    agent.start()
    async with agent.client() as client:
        over = await start(client, "echo over")
        await client.wait(over.id)
        running = await start(client, f"echo up; read _ < {gate.path}; echo said; exec sleep 1000")
        async for _ in await client.subscribe(running.id):
            break  # its log is open
        created = await client.create(JobSpec(shell="echo started"))
    agent.kill()
    mount("--bind", folder, folder)
    mount("-o", "remount,bind,ro", folder)
    try:
        agent.start()
        async with agent.client() as client:
            assert await collect(await client.subscribe(over.id)) == {"stdout": b"over\n", "stderr": b""}
            assert (await client.status(running.id)).state == State.RUNNING
            with pytest.raises(DiskFull):
                await client.create(JobSpec(shell=":"))
            gate.say()
            async for chunk in await client.subscribe(running.id, len("up\n")):
                assert chunk.data == b"said\n"
                break
            stopped = (await client.stop(running.id)).exit
            assert stopped is not None
            assert stopped.reason == Reason.STOPPED
    finally:
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: ASYNC221  # it is quick
    agent.end()  # which writes what it could not write
    agent.start()
    async with agent.client() as client:
        assert (await client.status(running.id)).exit == stopped
        await client.start(created.id)
        assert (await client.wait(created.id)).state == State.EXITED
    await agent.clean()


async def test_the_state_can_only_be_read_and_nothing_runs(mounted: Callable[[str], Path]) -> None:
    """Without a keeper, and without a file for the table to write in: what is there is served."""
    folder = mounted("size=20m") / "home"
    agent = RunningAgent(Home(folder))
    agent.start()
    async with agent.client() as client:
        over = await start(client, "echo over; exit 3")
        created = await client.create(JobSpec(shell="echo started"))
        await client.wait(over.id)
        keeper = (await client.call("agent.info"))["keeper"]
    agent.end()
    assert all(wait_gone(keeper[name], DEADLINE) for name in ("pid", "pump"))
    mount("-o", "remount,ro", folder.parent)
    agent.start()
    async with agent.client() as client:
        assert await collect(await client.subscribe(over.id)) == {"stdout": b"over\n", "stderr": b""}
        ended = await client.status(over.id)
        assert ended.exit is not None
        assert ended.exit.code == 3
        with pytest.raises(DiskFull):  # one of the writes
            await client.start(created.id)
        with pytest.raises(DiskFull):  # one of the writes
            await client.create(JobSpec(shell=":"))
        mount("-o", "remount,rw", folder.parent)
        async with asyncio.timeout(DEADLINE):
            while await refuses(client, created):  # noqa: ASYNC110  # nothing tells that a keeper was started
                await asyncio.sleep(0.1)
        assert (await client.wait(created.id)).state == State.EXITED
        await client.create(JobSpec(shell=":"))
    await agent.clean()


async def refuses(client: Client, job: Job) -> bool:
    try:
        await client.start(job.id)
    except DiskFull:
        return True
    return False


async def test_input_on_a_full_disk(agent: RunningAgent, disk: Disk) -> None:
    """50701, to be sent again: nothing is accepted that is not on the disk, and nothing of it is lost or doubled."""
    data = os.urandom(1_000_000)
    async with agent.client() as client:
        gate = Fifo(disk.home.path.parent / "gate")
        job = await client.start((await client.create(JobSpec(shell=f"read x < {gate.path}; cat", stdin="pipe"))).id)
        await client.write(job.id, data[:1000])
        disk.fill()
        with pytest.raises(DiskFull):  # noqa: PT012  # one of the writes
            for begin in range(1000, len(data), 100_000):
                await client.write(job.id, data[begin : begin + 100_000])
        end = await client.write(job.id, b"")
        assert end < len(data)
        disk.empty()
        async with await client.input(job.id) as target:
            assert target.offset == end
            await target.write(data[end:])
        gate.say()
        assert (await collect(await client.subscribe(job.id)))["stdout"] == data
        gate.close()
