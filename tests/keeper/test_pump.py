"""The pump alone: the format of its index, and what it makes of a predecessor's files."""

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.waiting import DEADLINE

from jobworker.logs.reader import Chunk, LogReader
from jobworker.pump import file_system
from jobworker.pump import log as pump_module

RECORD = struct.Struct("<QQQIB3x")
PUMP = Path(pump_module.__file__).with_name("__main__.py")
Until = Callable[[Path, Path, Callable[[], Any]], Awaitable[Any]]


class Arrival(NamedTuple):
    time: int
    offset: int
    position: int
    length: int
    stream: int


class Bench:
    """A pump, and the test as its keeper."""

    def __init__(self, path: Path) -> None:
        self.logs = path / "logs"
        self.logs.mkdir()
        self.socket_path = str(path / "pump.sock")
        self.pids: list[int] = []
        self.fds: set[int] = set()
        self.start()

    def start(self, connected: bool = True) -> None:
        Path(self.socket_path).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.socket_path)
            listener.listen(8)
            argv = [
                sys.executable,
                "-I",
                "-S",
                str(Path(pump_module.__file__).with_name("__main__.py")),
                str(self.logs),
            ]
            actions = [(os.POSIX_SPAWN_DUP2, listener.fileno(), 3)]
            self.sock = self.connect()
            if not connected:
                self.sock.close()
            self.pids.append(os.posix_spawn(argv[0], argv, {}, file_actions=actions))
        if connected:
            self.hello = self.hear()

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(DEADLINE)
        sock.connect(self.socket_path)
        return sock

    @property
    def pid(self) -> int:
        return self.pids[-1]

    def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.sock.recv(65536))
        return message

    def pipe(self) -> tuple[int, int]:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.fds |= {reader, writer}
        return reader, writer

    def hand(self, job: str, readers: list[int]) -> None:
        socket.send_fds(self.sock, [json.dumps({"op": "watch", "id": job}).encode()], readers)

    def watch(self, job: str) -> tuple[int, int]:
        """Hand over two pipes; return their write ends."""
        (out, to_out), (err, to_err) = self.pipe(), self.pipe()
        self.hand(job, [out, err])
        return to_out, to_err

    def holds(self, fd: int) -> bool:
        """Whether the pump has an end of this pipe open."""
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has just closed it
                if os.readlink(entry) == f"pipe:[{os.fstat(fd).st_ino}]":
                    return True
        return False

    def close(self, *fds: int) -> None:
        for fd in fds:
            self.fds.discard(fd)
            os.close(fd)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.sock.close()

    def arrivals(self, job: str) -> list[Arrival]:
        data = (self.logs / job / "index").read_bytes()
        assert len(data) % RECORD.size == 0
        return [Arrival(*fields) for fields in RECORD.iter_unpack(data)]

    def end(self) -> None:
        self.sock.close()
        self.close(*self.fds)
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.end()


def reaches(path: Path, size: int) -> bool | None:
    return (path.exists() and path.stat().st_size >= size) or None


def check(arrivals: list[Arrival]) -> None:
    """Assert that records follow each other without a gap, in the log and in each stream."""
    offset, positions = 0, [0, 0]
    for arrival in arrivals:
        assert arrival.length > 0
        assert (arrival.offset, arrival.position) == (offset, positions[arrival.stream])
        offset += arrival.length
        positions[arrival.stream] += arrival.length


def read(folder: Path) -> list[tuple[int, bytes]]:
    reader, offset, found = LogReader(folder), 0, []
    while chunk := reader.read(offset):
        assert isinstance(chunk, Chunk)
        found.append((chunk.stream, chunk.data))
        offset = chunk.end
    reader.close()
    return found


async def test_index_has_one_record_for_each_arrival(bench: Bench, until_grown: Until) -> None:
    """Write 32 bytes for each arrival: time, offset, position, length, stream."""
    before = time.time_ns()
    out, err = bench.watch("a1")
    folder = bench.logs / "a1"
    for number, (fd, data) in enumerate(((out, b"one"), (err, b"four"), (out, b"x"), (out, b"yz"), (err, b"!"))):
        os.write(fd, data)
        await until_grown(bench.logs, folder, partial(reaches, folder / "index", RECORD.size * (number + 1)))
    bench.close(out, err)
    assert bench.hear() == {"id": "a1", "size": 11, "out": 6, "truncated": False, "first": 0}
    arrivals = bench.arrivals("a1")
    assert [arrival[1:] for arrival in arrivals] == [
        (0, 0, 3, 0),
        (3, 0, 4, 1),
        (7, 3, 1, 0),
        (8, 4, 2, 0),
        (10, 4, 1, 1),
    ]
    times = [arrival.time for arrival in arrivals]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= time.time_ns()
    assert (bench.logs / "a1" / "out").read_bytes() == b"onexyz"
    assert (bench.logs / "a1" / "err").read_bytes() == b"four!"


@pytest.mark.parametrize("torn", [0, 1, 13, 31])
@pytest.mark.parametrize(
    ("left", "err_left"),
    [(b"", b""), (b"more", b""), (b"", b"MORE!"), (b"more", b"MORE!"), (b"x" * 100_000, b"y")],
)
def test_new_pump_indexes_what_its_predecessor_left(bench: Bench, torn: int, left: bytes, err_left: bytes) -> None:
    """Overwrite a torn record, index what the files hold beyond the index, `out` first, and go on behind it."""
    out, err = bench.watch("a1")
    os.write(out, b"abc")
    os.write(err, b"DE")
    os.write(out, b"f")
    bench.close(out, err)
    assert bench.hear()["size"] == 6
    before = bench.arrivals("a1")
    bench.kill()
    folder = bench.logs / "a1"
    for name, data in (("out", left), ("err", err_left), ("index", RECORD.pack(9, 9, 9, 9, 1)[:torn])):
        with (folder / name).open("ab") as file:
            file.write(data)

    bench.start()
    out, err = bench.watch("a1")
    os.write(out, b"NEW")
    bench.close(out, err)
    closed = bench.hear()
    assert closed["size"] == 9 + len(left) + len(err_left)
    arrivals = bench.arrivals("a1")
    check(arrivals)
    assert arrivals[: len(before)] == before
    found = read(folder)
    assert b"".join(data for stream, data in found if stream == 0) == b"abcf" + left + b"NEW"
    assert b"".join(data for stream, data in found if stream == 1) == b"DE" + err_left
    added = [arrival.stream for arrival in arrivals[len(before) :]]
    assert added == [0] * bool(left) + [1] * bool(err_left) + [0]


async def test_bytes_of_a_job_that_is_silent_from_now_on(bench: Bench, until_grown: Until) -> None:
    """A new pump indexes what was moved before it was there, and waits neither for more nor for the end."""
    folder = bench.logs / "a1"
    folder.mkdir(parents=True)
    (folder / "out").write_bytes(b"name: ")
    bench.watch("a1")
    await until_grown(bench.logs, folder, lambda: reaches(folder / "index", RECORD.size))
    assert read(folder) == [(0, b"name: ")]


def test_files_without_an_index_are_indexed(bench: Bench) -> None:
    """Index all that is there when the predecessor died before its first record."""
    folder = bench.logs / "a1"
    folder.mkdir()
    (folder / "out").write_bytes(b"first")
    (folder / "index").touch()
    bench.close(*bench.watch("a1"))
    assert bench.hear()["size"] == 5
    assert read(folder) == [(0, b"first")]


def test_bytes_of_a_dead_pump_stay_in_the_pipe(bench: Bench) -> None:
    """Take over pipes that were filled while no pump was there, with all that is in them."""
    pipes = [bench.pipe(), bench.pipe()]
    readers = [reader for reader, _ in pipes]
    bench.hand("a1", readers)
    bench.kill()
    os.write(pipes[0][1], b"x" * 65536)
    os.write(pipes[1][1], b"y" * 100)
    bench.close(pipes[0][1], pipes[1][1])
    bench.start()
    bench.hand("a1", readers)
    assert bench.hear() == {"id": "a1", "size": 65636, "out": 65536, "truncated": False, "first": 0}
    check(bench.arrivals("a1"))


async def test_two_pumps_do_not_share_a_log(bench: Bench, until_grown: Until) -> None:
    """Leave the bytes in the pipe while another holds the log, and move them when it lets go."""
    folder = bench.logs / "a1"
    folder.mkdir()
    with (folder / "index").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        out, err = bench.watch("a1")
        os.write(out, b"waits")
        other = bench.watch("a2")
        os.write(other[0], b"passes")
        await until_grown(bench.logs, bench.logs / "a2", lambda: read(bench.logs / "a2") == [(0, b"passes")] or None)
        assert not (folder / "out").exists()
    bench.close(out, err)
    assert bench.hear() == {"id": "a1", "size": 5, "out": 5, "truncated": False, "first": 0}
    assert read(folder) == [(0, b"waits")]


async def test_closed_waits_for_the_record_that_is_owed(bench: Bench, until_grown: Until) -> None:
    """Tell the end of a log only when the index covers it, though the disk was full at its last byte."""
    _, hard = resource.prlimit(bench.pid, resource.RLIMIT_FSIZE)
    out, err = bench.watch("a1")
    folder = bench.logs / "a1"
    for number in range(4):
        if number == 3:  # room for one more byte, not for one more record
            resource.prlimit(bench.pid, resource.RLIMIT_FSIZE, (3 * RECORD.size, hard))
        os.write(out, b"x")
        await until_grown(bench.logs, folder, partial(reaches, folder / "out", number + 1))
        if number < 3:
            await until_grown(bench.logs, folder, partial(reaches, folder / "index", RECORD.size * (number + 1)))
    bench.close(out, err)
    resource.prlimit(bench.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert bench.hear()["size"] == 4
    assert sum(arrival.length for arrival in bench.arrivals("a1")) == 4


def test_forgotten_job_is_let_go(bench: Bench, eventually: Callable[[Callable[[], Any]], Any]) -> None:
    """Let go of the pipes of a job that did not start, and serve the same id afterwards."""
    out, err = bench.watch("a1")
    eventually(lambda: bench.holds(out) or None)
    bench.sock.send(json.dumps({"op": "forget", "id": "a1"}).encode())
    bench.sock.send(json.dumps({"op": "forget", "id": "never"}).encode())
    eventually(lambda: not bench.holds(out) or None)  # else the end of the pipe can be seen first
    bench.close(out, err)
    out, err = bench.watch("a1")
    os.write(out, b"again")
    bench.close(out, err)
    assert bench.hear() == {"id": "a1", "size": 5, "out": 5, "truncated": False, "first": 0}


def test_many_jobs_in_one_message(bench: Bench) -> None:
    """Each job gets as many of the descriptors as it says, and the ends come as reports."""
    assert bench.hello["many"]
    (out, to_out), (err, to_err), (both, to_both) = bench.pipe(), bench.pipe(), bench.pipe()
    watches = [{"id": "a1", "pipes": 2, "new": True}, {"id": "a2", "pipes": 1, "new": True}]
    socket.send_fds(bench.sock, [json.dumps({"op": "watch", "jobs": watches}).encode()], [out, err, both])
    os.write(to_err, b"err")
    os.write(to_both, b"merged")
    bench.close(to_out, to_err, to_both)
    reports: dict[str, Any] = {}
    while len(reports) < 2:
        reports |= {report["id"]: report["size"] for report in bench.hear()["reports"]}
    assert reports == {"a1": 3, "a2": 6}
    assert (bench.logs / "a1" / "err").read_bytes() == b"err"
    assert (bench.logs / "a2" / "out").read_bytes() == b"merged"


def test_a_keeper_that_takes_one_report_at_a_time(bench: Bench) -> None:
    """A keeper of a version before, after one that took many, gets its reports as it knows them."""
    (out, to_out), (err, to_err) = bench.pipe(), bench.pipe()
    watch = {"id": "a1", "pipes": 2, "new": True}
    socket.send_fds(bench.sock, [json.dumps({"op": "watch", "jobs": [watch]}).encode()], [out, err])
    bench.sock.close()
    bench.sock = bench.connect()
    assert "hello" in bench.hear()
    os.write(to_out, b"out")
    bench.close(to_out, to_err)
    assert bench.hear() == {"id": "a1", "size": 3, "out": 3, "truncated": False, "first": 0}


def test_next_keeper_gets_what_the_last_did_not_read(bench: Bench) -> None:
    """The pump stays while a log is open, and reports jobs and ends to the next keeper."""
    out, err = bench.watch("a1")
    os.write(out, b"x")
    bench.sock.close()
    bench.sock = bench.connect()
    hello = bench.hear()
    assert (hello["pid"], hello["jobs"]) == (bench.pid, ["a1"])
    bench.close(out, err)
    assert bench.hear() == {"id": "a1", "size": 1, "out": 1, "truncated": False, "first": 0}


@pytest.mark.parametrize("met", [True, False])
def test_pump_leaves_with_its_keeper(bench: Bench, met: bool) -> None:
    """The pump ends when the keeper is gone and no log is open, even if no keeper ever connected."""
    if not met:
        bench.kill()
        bench.start(connected=False)
    bench.sock.close()
    pidfd = os.pidfd_open(bench.pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(10_000)
    finally:
        os.close(pidfd)
    assert os.waitstatus_to_exitcode(os.waitpid(bench.pid, 0)[1]) == 0


def test_keeper_that_died_at_once_does_not_end_a_pump_with_logs(bench: Bench) -> None:
    """Go on pumping when a new keeper connects and is gone before it was greeted."""
    out, err = bench.watch("a1")
    os.write(out, b"x")
    bench.sock.close()
    bench.connect().close()
    bench.sock = bench.connect()
    assert bench.hear()["jobs"] == ["a1"]
    bench.close(out, err)
    assert bench.hear()["size"] == 1


def test_splice_is_probed(bench: Bench) -> None:
    """Say whether splice works here, and leave nothing of the probe."""
    assert bench.hello["hello"] == 1
    assert bench.hello["pid"] == bench.pid
    assert bench.hello["splice"] is file_system.can_splice(str(bench.logs))
    assert os.listdir(bench.logs) == []


def test_copy_is_what_splice_would_do(bench: Bench, tmp_path: Path) -> None:
    """Without splice one chunk is copied: all that is in the pipe, nothing at its end, without waiting."""
    reader, writer = bench.pipe()
    with (tmp_path / "file").open("wb", buffering=0) as file:
        with pytest.raises(BlockingIOError):
            file_system.copy(reader, file.fileno(), drops=False)
        os.write(writer, b"abc")
        assert file_system.copy(reader, file.fileno(), drops=False) == (3, 0)
        bench.close(writer)
        assert file_system.copy(reader, file.fileno(), drops=False) == (0, 0)
    assert (tmp_path / "file").read_bytes() == b"abc"


async def test_a_pipe_that_is_filled_gets_wider(bench: Bench, until_grown: Until) -> None:
    """Make room for a job that writes faster than it is served, and leave the pipe of any other as it is."""
    out, err = bench.watch("a1")
    folder = bench.logs / "a1"
    os.write(err, b"little")
    os.write(out, bytes(file_system.CHUNK))
    await until_grown(bench.logs, folder, lambda: reaches(folder / "index", 2 * RECORD.size))
    os.write(out, b"more")  # taken once the chunk before it was dealt with
    await until_grown(bench.logs, folder, lambda: reaches(folder / "out", file_system.CHUNK + 4))
    assert fcntl.fcntl(out, fcntl.F_GETPIPE_SZ) == pump_module.WIDE
    assert fcntl.fcntl(err, fcntl.F_GETPIPE_SZ) == file_system.CHUNK


async def test_a_full_pipe_is_emptied_before_the_other(bench: Bench, until_grown: Until) -> None:
    """Put a word on one stream behind all of the flood that was on the other before, however wide its pipe is."""
    out, err = bench.watch("a1")
    folder = bench.logs / "a1"
    os.write(out, bytes(file_system.CHUNK))
    await until_grown(bench.logs, folder, lambda: reaches(folder / "index", RECORD.size))
    os.write(out, b"more")
    await until_grown(bench.logs, folder, lambda: reaches(folder / "index", 2 * RECORD.size))
    os.kill(bench.pid, signal.SIGSTOP)
    flood = os.write(out, bytes(pump_module.WIDE))
    os.write(err, b"word")
    os.kill(bench.pid, signal.SIGCONT)
    await until_grown(bench.logs, folder, lambda: reaches(folder / "index", 4 * RECORD.size))
    assert flood == pump_module.WIDE
    assert [arrival.length for arrival in bench.arrivals("a1")[2:]] == [flood, len("word")]
