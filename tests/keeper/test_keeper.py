"""The keeper itself: when it leaves, what it survives, and the journal it writes."""

import asyncio
import json
import os
import resource
import select
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from jobworker.errors import DiskFull, InternalError
from jobworker.host.journal import Closed, Ended, Launching, Started

if TYPE_CHECKING:
    from tests.support.keeper_host import Host


async def test_quit_without_a_job(host: "Host") -> None:
    """The keeper ends at once at `quit` if there is no job, with its pump, sockets and cgroup."""
    keeper, pump = host.pid, host.link.hello["pump"]
    await host.finish("a1", "echo x")
    await host.ask("quit")
    host.gone(keeper)
    host.gone(pump)
    assert host.exit_code(keeper) == 0
    assert not host.run.exists(), "the keeper removes its folder when it leaves"
    assert not host.group or not os.path.exists(host.group)
    await host.until_lost()
    assert host.home.keeper_log.read_text() == ""


async def test_quit_with_a_job(host: "Host") -> None:
    """Leave after the last job has ended and its output is closed, and journal both."""
    keeper, control = host.pid, host.control("a1")
    await host.shell("a1", 'read -r x < "$1"; echo done; exit 8', str(control))
    await host.ask("quit")
    assert (await host.ask("hello"))["pid"] == keeper
    assert (host.run / "keeper.sock").exists()
    host.say(control, "go\n")
    assert (await host.until(Ended, "a1")).code == 8
    assert (await host.until(Closed, "a1")).size == 5
    await host.until_lost()
    host.gone(keeper)
    assert not host.run.exists(), "the keeper removes its folder when it leaves"


async def test_launch_after_quit_keeps_the_keeper(host: "Host") -> None:
    """Stay when another job is launched while the last one is waited for."""
    control = host.control("a1")
    await host.shell("a1", 'read -r x < "$1"', str(control))
    await host.ask("quit")
    await host.shell("a2", "kill -STOP $$")
    host.say(control, "go\n")
    await host.until(Ended, "a1")
    await host.until(Closed, "a1")
    assert (await host.ask("hello"))["pid"] == host.pid


async def test_another_agent_after_quit_keeps_the_keeper(host: "Host") -> None:
    """After `jw agent stop; jw agent start` while a job runs, the end of the job is not that of the keeper."""
    control = host.control("a1")
    await host.shell("a1", 'read -r x < "$1"', str(control))
    await host.ask("quit")
    host.link.close()
    await host.connect()
    keeper = host.pid
    host.say(control, "go\n")
    await host.until(Ended, "a1")
    await host.until(Closed, "a1")
    await host.finish("a2", "exit 1")
    assert host.pid == keeper == (await host.ask("hello"))["pid"]


async def test_next_keeper_in_the_same_home(host: "Host") -> None:
    """A keeper that starts after another has ended appends to the same journal."""
    await host.finish("a1", "exit 1")
    first, journal = host.pid, host.home.journal.read_bytes()
    await host.ask("quit")
    await host.until_lost()
    await host.connect()
    assert host.pid != first
    assert (await host.finish("a2", "exit 2")).code == 2
    assert host.home.journal.read_bytes().startswith(journal)


async def test_two_homes_have_two_keepers(host: "Host", second_host: "Host") -> None:
    """Keep the jobs of two homes apart, even under the same id."""
    assert host.pid != second_host.pid
    assert host.run != second_host.run
    await asyncio.gather(host.finish("a1", "echo one; exit 1"), second_host.finish("a1", "echo two; exit 2"))
    assert (host.of(Ended, "a1")[0].code, second_host.of(Ended, "a1")[0].code) == (1, 2)
    assert (host.output("a1"), second_host.output("a1")) == (b"one\n", b"two\n")
    await host.ask("quit")
    host.gone(host.pid)
    assert (await second_host.finish("a2", "exit 3")).code == 3


async def test_keeper_ignores_the_signals_of_a_closing_session(host: "Host") -> None:
    """Stay on SIGTERM, SIGINT and SIGCHLD, keeper and pump."""
    await host.finish("a0", "echo x")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        os.kill(host.pid, number)
        os.kill(host.link.hello["pump"], number)
    assert (await host.finish("a1", "echo x; exit 1")).code == 1
    hello = await host.ask("hello")
    assert (hello["pid"], hello["pump"]) == (host.pid, host.link.hello["pump"])


@pytest.mark.parametrize(
    ("op", "params"),
    [
        ("no_such_op", {}),
        ("", {}),
        ("_hello__", {}),
        ("launch", {}),
        ("signal", {}),
        ("signal", {"id": "run", "target": "main", "signal": "KILL"}),
        ("signal", {"id": "run", "target": "main", "signal": 9999}),
        ("signal", {"id": "run", "target": "main", "signal": None}),
        ("signal", {"id": ["run"], "target": "main", "signal": 9}),
        ("release", {}),
    ],
)
async def test_bad_request_gets_an_error(host: "Host", op: str, params: dict[str, Any]) -> None:
    """Answer a request that makes no sense with an error, and live."""
    started = await host.shell("run", "kill -STOP $$")
    with pytest.raises(InternalError, match="the keeper refused"):
        await host.ask(op, **params)
    assert (await host.ask("hello"))["pid"] == host.pid
    host.resume(started.pid)
    assert (await host.until(Ended, "run")).code == 0


async def test_answers_of_a_keeper_that_is_gone(host: "Host") -> None:
    """What it sent in several messages before it left is read, however late the agent comes to it."""
    first = asyncio.ensure_future(host.ask("hello", agent=os.getpid()))
    await asyncio.sleep(0)  # it is sent
    assert host.link._sock is not None
    assert select.select([host.link._sock], [], [], host.deadline)[0]
    asking = host.link.ask("quit")
    second = asking.send(None)  # sent without a turn of the loop, which would read the first answer
    pidfd = os.pidfd_open(host.pid)
    assert select.select([pidfd], [], [], host.deadline)[0]
    os.close(pidfd)
    await first
    await second
    asking.close()


@pytest.mark.parametrize(
    "change",
    [
        {"argv": None},
        {"argv": []},
        {"argv": [1]},
        {"argv": "true"},
        {"env": None},
        {"env": {"A": 1}},
        {"cwd": None},
        {"cwd": "/\0"},
        {"cwd": "\ud800"},
    ],
)
async def test_bad_spec_leaves_no_ghost(
    host: "Host", change: dict[str, Any], ended_in_time: Callable[[int], bool]
) -> None:
    """A spec that cannot be launched is refused or fails, and leaves no job: a signal to it reaches no process."""
    spec = {"id": "a1", "argv": ["/bin/true"], "env": {}, "cwd": "/"} | change
    try:
        await host.ask("launch", **{name: value for name, value in spec.items() if value is not None})
    except InternalError as refused:
        print(refused)
    answer = await host.ask("signal", id="a1", target="main", signal=0)
    assert answer["delivered"] == 0
    assert not host.of(Started, "a1")
    assert os.listdir(host.run / "fifo") == []
    assert (await host.finish("a2", "exit 4")).code == 4
    await host.ask("quit")
    assert ended_in_time(host.pid)


@pytest.mark.parametrize("message", [b"no json", b"[]", b"{", b"\xff\xfe", b"null", b'"x"'])
async def test_message_that_is_no_request_is_ignored(host: "Host", message: bytes) -> None:
    """A message that is not a request does not end the keeper, which answers the next one."""
    started = await host.shell("run", "kill -STOP $$")
    host.link.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(host.deadline)
        sock.connect(str(host.run / "keeper.sock"))
        sock.send(message)
        sock.send(b'{"op":"hello","re":77}')
        answers: list[dict[str, Any]] = []
        while not any(answer["re"] == 77 for answer in answers):
            data = sock.recv(262144)
            assert data, "the keeper is gone"
            answers += json.loads(data)["answers"]
    assert answers[-1]["pid"] == host.pid
    await host.connect()
    host.resume(started.pid)
    assert (await host.until(Ended, "run")).code == 0


async def test_answers_come_for_every_request_of_a_flood(host: "Host") -> None:
    """Answer a thousand requests that came in one breath, each under its number."""
    async with asyncio.timeout(host.deadline):
        answers = await asyncio.gather(*(host.link.ask("hello", n=n) for n in range(1000)))
    assert len({answer["re"] for answer in answers}) == 1000


async def test_large_refusal_is_answered(host: "Host") -> None:
    """Answer a refusal whose words would not fit into a message."""
    with pytest.raises(InternalError):
        await host.ask("x" * 300_000)
    assert (await host.ask("hello"))["pid"] == host.pid


async def test_torn_tail_of_the_journal_is_overwritten(cold_host: "Host") -> None:
    """Overwrite what a torn write of a predecessor left, and keep all before it."""
    whole = b'{"event":"launching","id":"old","group":"","at":1}\n'
    torn = b'{"event":"started","id":"old","pid":' + b"1" * 5000
    cold_host.home.journal.write_bytes(whole + torn)
    cold_host.home.journal.chmod(0o600)
    await cold_host.connect()
    await cold_host.finish("a1", "exit 0")
    data = cold_host.home.journal.read_bytes()
    assert data.startswith(whole + b'{"event":"opened"')
    events = [json.loads(line)["event"] for line in data.splitlines()]
    assert events[:4] == ["launching", "opened", "launching", "started"]
    assert cold_host.of(Launching, "old")


async def test_full_disk_starts_nothing(host: "Host") -> None:
    """Refuse a launch that cannot be journaled, start nothing, and launch it when there is room."""
    size = host.home.journal.stat().st_size
    _, hard = resource.prlimit(host.pid, resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
    with pytest.raises(DiskFull):
        await host.launch("a1", "/bin/true")
    assert host.home.journal.stat().st_size == size
    assert os.listdir(host.run / "fifo") == []
    resource.prlimit(host.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert (await host.finish("a1", "exit 2")).code == 2
    assert len(host.of(Launching, "a1")) == 1


@pytest.mark.parametrize("closes", ["", "exec >&- 2>&-;"])
async def test_end_during_a_full_disk_is_journaled_later(host: "Host", closes: str) -> None:
    """Journal the end of a job, without being asked, when there is room again."""
    control = host.control("a1")
    started = await host.shell("a1", f'{closes} read -r x < "$1"; exit 11', str(control))
    if closes:
        await host.until(Closed, "a1")
    await host.ask("hello")
    size = host.home.journal.stat().st_size
    _, hard = resource.prlimit(host.pid, resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
    host.say(control, "go\n")
    host.gone(started.pid)
    assert (await host.ask("hello"))["pid"] == host.pid  # by now it has tried
    assert host.home.journal.stat().st_size == size
    resource.prlimit(host.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert (await host.until(Ended, "a1")).code == 11
    await host.until(Closed, "a1")
