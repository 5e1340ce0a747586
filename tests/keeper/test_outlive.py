"""A job outlives its agent, and the next agent continues to read at the same place."""

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker.host.journal import Closed, Ended, Journal, Launching, Started
from jobworker.host.keeper_link import KeeperGone, KeeperLink

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

ECHO = 'while read -r line && [ "$line" != end ]; do echo "$line"; done < "$1"; exit 9'


async def test_job_and_log_go_on_without_an_agent(host: "Host") -> None:
    """Job and log go on without an agent, and the next agent gets the exit."""
    keeper, control = host.pid, host.control("a1")
    started = await host.shell("a1", ECHO, str(control))
    host.say(control, "one\n")
    assert await host.lines("a1") == ["one"]
    read_to = host.home.journal.stat().st_size
    host.link.close()

    host.say(control, "two\n")
    assert await host.lines("a1", 2) == ["one", "two"]
    host.say(control, "end\n")
    host.gone(started.pid)

    await host.connect()
    assert host.pid == keeper
    ended = await host.until(Ended, "a1")
    assert (ended.code, ended.signal) == (9, None)
    closed = await host.until(Closed, "a1")
    assert closed.size == len("one\ntwo\n")

    journal = Journal(host.home.journal, read_to)
    assert {type(record) for record in journal.read()} == {Ended, Closed}
    journal.close()
    assert len(host.of(Started, "a1")) == 1


async def test_second_agent_waits_for_the_first_to_leave(host: "Host") -> None:
    """Answer a second agent only when the first one's connection is gone."""
    first = host.link
    second = host.new_link()
    opening = asyncio.create_task(second.open())
    await asyncio.sleep(0)  # one turn of the loop: it is connected and has asked
    for _ in range(5):
        await first.ask("hello")  # each is a turn of the keeper's loop
    assert not opening.done()
    assert not second.hello
    first.close()
    async with asyncio.timeout(host.deadline):
        await opening
    assert second.hello["pid"] == first.hello["pid"]


async def test_first_agent_has_no_effect_once_the_second_is_answered(host: "Host") -> None:
    """The keeper finishes the first agent's requests before it answers the second one."""
    first = host.link
    wishes = [
        asyncio.create_task(first.ask("launch", id=f"w{n}", argv=["/bin/true"], env=host.env(f"w{n}"), cwd="/"))
        for n in range(80)
    ]
    await asyncio.sleep(0)
    first.close()
    assert {type(result) for result in await asyncio.gather(*wishes, return_exceptions=True)} == {KeeperGone}
    await host.connect()
    launched = [record.id for record in host.records if isinstance(record, Launching)]
    for job in launched:
        assert (await host.until(Ended, job)).code == 0
    await host.ask("hello")
    assert launched == [record.id for record in host.records if isinstance(record, Launching)]
    assert launched == [f"w{n}" for n in range(len(launched))]


async def test_new_agent_gets_the_journal_with_the_hello(host: "Host") -> None:
    """A new agent gets the size of the journal with the hello, before any other request."""
    await host.finish("a1", "exit 0")
    host.link.close()
    seen = len(host.records)
    told: list[int] = []
    link = KeeperLink(host.home, host.run, lambda: told.append(host.home.journal.stat().st_size), lambda: None)
    host.links.append(link)
    async with asyncio.timeout(host.deadline):
        await link.open()
    assert told
    assert len(host.records) == seen


async def test_closed_link_raises(host: "Host") -> None:
    """A closed link raises KeeperGone; closing it twice is harmless."""
    host.link.close()
    host.link.close()
    with pytest.raises(KeeperGone):
        await host.ask("hello")


async def test_journal_is_json_lines_on_disk(host: "Host") -> None:
    """Write each record as one line of JSON, the first of a keeper with version, pid and boot id."""
    await host.finish("a1", "exit 0")
    records = [json.loads(line) for line in host.home.journal.read_bytes().splitlines()]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert records[0]["event"] == "opened"
    assert (records[0]["v"], records[0]["pid"], records[0]["boot"]) == (1, host.pid, boot)
    assert all(record["at"] > 0 for record in records)
    assert host.home.journal.stat().st_mode & 0o777 == 0o600
    assert os.stat(host.run / "keeper.sock").st_mode & 0o777 == 0o600


def files_of(pid: int) -> set[str]:
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(fd))
    return found


def waits(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


async def test_output_that_closes_while_the_job_is_taken_over(host: "Host") -> None:
    """The pump of the last keeper reports the end of a log while the next keeper is about to pass it the job."""
    await host.finish("a1", "echo x")  # the pump is up
    pump = host.link.hello["pump"]
    held = await host.shell("a2", f"read _ < {host.control('a2')}; echo x")
    os.kill(pump, signal.SIGSTOP)
    before = {file for file in files_of(pump) if "/fifo/" in file or "socket" in file}
    before -= {os.readlink(f"/proc/{pump}/fd/3")}  # on which it listens
    host.say(host.home.path / "a2.control", "\n")
    await host.until(Ended, "a2")
    os.kill(host.pid, signal.SIGKILL)
    await host.until_lost()
    await host.link.dead()
    link = await host.connect()
    os.kill(host.pid, signal.SIGSTOP)
    host.stopped(host.pid)
    adopting = asyncio.create_task(link.ask("adopt", id="a2", pid=held.pid, start=held.start, ended=True))
    await asyncio.sleep(0)
    os.kill(pump, signal.SIGCONT)
    deadline = time.monotonic() + host.deadline
    while files_of(pump) & before or not waits(pump):  # it has met the new keeper and told it
        assert time.monotonic() < deadline
    os.kill(host.pid, signal.SIGCONT)
    async with asyncio.timeout(host.deadline):
        await adopting
    assert not (await host.until(Closed, "a2")).truncated
    assert (await host.finish("a3", "echo on")).code == 0
