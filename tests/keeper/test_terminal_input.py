"""What is typed into a job's terminal: each byte once and in order, whatever is killed."""

import hashlib
import os
import random
import signal
from typing import TYPE_CHECKING, Any

from tests.support.waiting import grown, until

from jobworker.host.journal import Closed, Ended, InputEnd
from jobworker.host.spool import open_spool

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

TTY: dict[str, Any] = {"tty": {"rows": 30, "cols": 100}, "stdin": "pipe"}
BYTES = 1_000_000  # more than the FIFO and the buffers of a terminal take


async def type_(host: "Host", job: str, data: bytes) -> None:
    """Append to the input, as an agent does."""
    with open_spool(str(host.home.path), job) as spool:
        assert spool is not None
        end, _ = spool.accepted()
        left = memoryview(data)
        while left:
            await grown(host.home.path, host.home.input, lambda at=end: spool.has_room(at) or None)  # type: ignore[misc]
            written = spool.append(left, end)
            left, end = left[written:], end + written


def close(host: "Host", job: str) -> None:
    with open_spool(str(host.home.path), job) as spool:
        assert spool is not None
        spool.close_input()


async def test_a_line_and_the_end(host: "Host") -> None:
    """The terminal shows what is typed; the end of the input is its end-of-file character, typed once."""
    await host.shell("a1", "echo up; cat; echo over", **TTY)
    await host.lines("a1")
    await type_(host, "a1", b"hello\n")
    await host.lines("a1", 3)
    close(host, "a1")
    assert (await host.until(Ended, "a1")).code == 0
    await host.until(Closed, "a1")
    assert host.output("a1") == b"up\r\nhello\r\nhello\r\nover\r\n"


async def test_another_end_of_file_character(host: "Host") -> None:
    """It is the one that the terminal has now; a terminal without one gets none, and its job goes on."""
    await host.shell("a1", "stty eof ^B; echo up; cat; echo over", **TTY)
    await host.lines("a1")
    close(host, "a1")
    assert (await host.until(Ended, "a1")).code == 0
    await host.shell("a2", "stty eof undef; echo up; read x; cat", **TTY)
    await host.lines("a2")
    await type_(host, "a2", b"x\n")
    close(host, "a2")
    assert (await host.until(InputEnd, "a2")).how == "closed"
    assert not host.of(Ended, "a2")


async def test_keys_are_signals(host: "Host") -> None:
    """Ctrl-C reaches the processes in the foreground as SIGINT."""
    await host.shell("a1", "trap 'echo int; exit 4' INT; echo up; while :; do sleep 0.01; done", **TTY)
    await host.lines("a1")
    await type_(host, "a1", b"\x03")
    assert (await host.until(Ended, "a1")).code == 4


async def test_killed_pumps_lose_no_key(host: "Host") -> None:
    """Again and again under a million bytes into a raw terminal: each once, in order."""
    data = random.Random(5).randbytes(BYTES)
    await host.shell("a1", f"stty raw -echo; echo up; head -c {BYTES} | md5sum", **TTY)
    await host.lines("a1")
    pump = 0
    for at in range(0, BYTES, 100_000):
        await type_(host, "a1", data[at : at + 100_000])
        pump = await host.kill_pump(pump)
    await host.until(Closed, "a1")
    assert host.output("a1").split()[1].decode() == hashlib.md5(data).hexdigest()


async def test_a_killed_keeper_loses_no_key(host: "Host") -> None:
    """What is typed meanwhile waits in the spool or goes on by the pump; then the pump may die as well."""
    data = random.Random(6).randbytes(BYTES)
    started = await host.shell("a1", f"stty raw -echo; echo up; head -c {BYTES} | md5sum", **TTY)
    await host.lines("a1")
    for third in range(3):
        await type_(host, "a1", data[third * 300_000 : (third + 1) * 300_000])
        host.lost = 0
        os.kill(host.pid, signal.SIGKILL)
        await host.until_lost()
        await host.link.dead()
        await host.connect()
        answer = await host.ask("adopt", id="a1", pid=started.pid, start=started.start, ended=False, **TTY)
        assert answer["held"]
    await until(lambda: any("/ptmx" in os.readlink(f"/proc/{host.pid}/fd/{fd}") for fd in _fds(host.pid)))
    await host.kill_pump(0)
    await type_(host, "a1", data[900_000:])
    await host.until(Closed, "a1")
    assert host.output("a1").split()[1].decode() == hashlib.md5(data).hexdigest()


def _fds(pid: int) -> list[str]:
    return [fd for fd in os.listdir(f"/proc/{pid}/fd") if os.path.lexists(f"/proc/{pid}/fd/{fd}")]


async def test_a_job_that_does_not_read(host: "Host") -> None:
    """Its input waits outside of memory, the pump idles, output goes on; all arrives when it reads."""
    go = host.control("go")
    await host.shell("a1", f"stty raw -echo; echo up; read _ < {go}; head -c {BYTES} | md5sum", **TTY)
    await host.shell("a2", "echo up; cat", **TTY)
    await host.lines("a1")
    data = random.Random(8).randbytes(BYTES)
    await type_(host, "a1", data)
    (pump,) = host.pumps()
    await type_(host, "a2", b"other\n")
    await host.lines("a2", 3)
    before = os.times().system, _cpu(pump)
    await type_(host, "a2", b"again\n")
    await host.lines("a2", 5)
    assert _cpu(pump) - before[1] <= 1  # in ticks of 10 ms: no loop over a terminal that is full
    host.say(go, "\n")
    await host.until(Closed, "a1")
    assert host.output("a1").split()[1].decode() == hashlib.md5(data).hexdigest()


def _cpu(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def test_the_terminal_ends_before_the_job(host: "Host") -> None:
    """A job that closes its terminal takes no more input; it is hung up, as in a window that is closed."""
    await host.shell("a1", "trap '' HUP; echo up; exec sleep 1000 <&- >&- 2>&-", **TTY)
    await host.until(Closed, "a1")
    with open_spool(str(host.home.path), "a1") as spool:
        if spool is not None:
            spool.append(memoryview(b"x"), spool.accepted()[0])
    assert (await host.until(InputEnd, "a1")).how == "broken"
    assert not host.of(Ended, "a1")
