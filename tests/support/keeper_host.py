"""A real keeper with a real pump in a home of its own, and the test as its agent."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.support.waiting import DEADLINE, T, ends, grown, scaled

from jobworker.host import process_tree as tree
from jobworker.host.journal import Closed, Ended, Journal, JournalEntry, Started, StartFailed
from jobworker.host.keeper_link import KeeperLink
from jobworker.host.keeper_process import KEEPER
from jobworker.host.sweep import SweepTree
from jobworker.linux.proc import MARKER
from jobworker.logs.reader import Chunk, Gap, LogReader
from jobworker.paths import Home

R = TypeVar("R", bound=JournalEntry)


class Host:
    """One home with its keeper; the test talks to it as an agent would."""

    deadline = DEADLINE

    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.home.create()
        self.run = self.home.create_run_folder()
        self.mark = f"JOBWORKER_TEST={uuid.uuid4().hex}"
        self._tail = uuid.uuid4().hex[:8]  # of the markers of its jobs
        self.records: list[JournalEntry] = []
        self.links: list[KeeperLink] = []
        self.lost = 0
        self.group = ""
        self._journal: Journal | None = None
        self._news = asyncio.Event()
        self._readers: dict[str, LogReader] = {}
        self._controls: dict[Path, int] = {}

    # The agent's end

    def new_link(self) -> KeeperLink:
        self.links.append(KeeperLink(self.home, self.run, self._grew, self._lost))
        return self.links[-1]

    async def connect(self) -> KeeperLink:
        async with asyncio.timeout(DEADLINE):
            link = self.new_link()
            await link.open()
        self.group = link.hello["cgroup"]
        return link

    @property
    def link(self) -> KeeperLink:
        return self.links[-1]

    @property
    def pid(self) -> int:
        return int(self.link.hello["pid"])

    async def ask(self, op: str, **params: Any) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            return await self.link.ask(op, **params)

    def _grew(self) -> None:
        self._journal = self._journal or Journal(self.home.journal)
        while records := self._journal.read():
            self.records += records
        self._news.set()

    def _lost(self) -> None:
        self.lost += 1
        self._news.set()

    # Jobs

    def marker(self, job: str) -> str:
        """Return what marks the processes of a job; of an id as `a1`, which other tests use as well, ours alone."""
        return f"{job}-{self._tail}" if len(job) == 2 else job

    def env(self, job: str, **more: str) -> dict[str, str]:
        name, _, value = self.mark.partition("=")
        return {"PATH": "/usr/bin:/bin", name: value, MARKER: self.marker(job), **more}

    async def launch(
        self, job: str, *argv: str, cwd: str = "/", env: dict[str, str] | None = None, **log: Any
    ) -> None:
        """Launch a job; `log` says how its output is kept: `max`, `keep`, `merge`, `drop`."""
        await self.ask("launch", id=job, argv=list(argv), env=env or self.env(job), cwd=cwd, **log)

    async def shell(self, job: str, script: str, *args: str, cwd: str = "/", **log: Any) -> Started:
        """Launch a script of /bin/sh and return once it runs."""
        await self.launch(job, "/bin/sh", "-c", script, "sh", *args, cwd=cwd, **log)
        return await self.until(Started, job)

    async def finish(self, job: str, script: str, *args: str, **log: Any) -> Ended:
        """Run a script until it has ended and its output is closed."""
        await self.shell(job, script, *args, **log)
        await self.until(Closed, job)
        return await self.until(Ended, job)

    def control(self, name: str) -> Path:
        """Make a FIFO through which `say` steers a job; its path goes to the job."""
        path = self.home.path / f"{name}.control"
        os.mkfifo(path)
        self._controls[path] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return path

    def say(self, control: Path, text: str) -> None:
        os.write(self._controls[control], text.encode())

    def of(self, kind: type[R], job: str) -> list[R]:
        return [record for record in self.records if isinstance(record, kind) and record.id == job]

    async def until(self, kind: type[R], job: str) -> R:
        """Return the job's record of that kind as soon as the journal has it."""
        async with asyncio.timeout(DEADLINE):
            while not (found := self.of(kind, job)):
                self._news.clear()
                await self._news.wait()
        return found[0]

    async def outcome(self, job: str) -> Started | StartFailed:
        """Return what became of a launch as soon as the journal has it."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for outcome in (*self.of(Started, job), *self.of(StartFailed, job)):
                    assert isinstance(outcome, Started | StartFailed)
                    return outcome
                self._news.clear()
                await self._news.wait()

    async def until_lost(self) -> None:
        async with asyncio.timeout(DEADLINE):
            while not self.lost:
                self._news.clear()
                await self._news.wait()

    # Output

    def reader(self, job: str) -> LogReader:
        if job not in self._readers:
            self._readers[job] = LogReader(self.home.logs / job)
        return self._readers[job]

    def chunks(self, job: str, offset: int = 0) -> list[Chunk]:
        found: list[Chunk] = []
        while chunk := self.reader(job).read(offset):
            assert isinstance(chunk, Chunk)
            found.append(chunk)
            offset = chunk.end
        return found

    def all(self, job: str, streams: Sequence[int] = (0, 1), offset: int = 0) -> list[Chunk | Gap]:
        """Return what there is to read now, gaps too."""
        found: list[Chunk | Gap] = []
        while (next_ := self.reader(job).read(offset, streams=streams)) is not None:
            found.append(next_)
            offset = next_.end
        return found

    async def kill_pump(self, last: int) -> int:
        """Kill the pump that came after `last` and return its pid."""
        async with asyncio.timeout(DEADLINE):
            pump = last
            while pump in (last, 0):
                pump = (await self.link.ask("hello"))["pump"]
        os.kill(pump, signal.SIGKILL)
        return int(pump)

    def output(self, job: str, stream: int = 0) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks(job) if chunk.stream == stream)

    async def log_says(self, job: str, done: Callable[[], T | None]) -> T:
        """Return what `done` returns, asked anew whenever the job's log has grown."""
        return await grown(self.home.logs, self.home.logs / job, done)

    async def log_reaches(self, job: str, size: int) -> int:
        reader = self.reader(job)
        return await self.log_says(job, lambda: end if (end := reader.size()) >= size else None)

    async def lines(self, job: str, count: int = 1, stream: int = 0) -> list[str]:
        """Return the first lines of a stream as soon as they are in the log."""

        def whole() -> list[str] | None:
            lines = self.output(job, stream).decode().split("\n")
            return lines[:count] if len(lines) > count else None

        return await self.log_says(job, whole)

    # The tree

    def tree(self, job: str, main: int) -> tree.Tree:
        if self.group:
            return tree.CgroupTree(Path(self.group, job))
        return SweepTree(self.marker(job), main)

    async def signal_all(self, job: str, main: int, number: int) -> int:
        """Signal the tree in the way that is available here; return how many were."""
        members = [] if self.group else await self.tree(job, main).members()
        answer = await self.ask(
            "signal", id=job, target="all", signal=number, pids=[[p.pid, p.start] for p in members]
        )
        return int(answer["delivered"])

    @staticmethod
    def stopped(pid: int) -> None:
        """Return when the process is stopped, which no event announces to those who are not its parent."""
        end = time.monotonic() + DEADLINE
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < end, f"process {pid} does not stop"
            os.sched_yield()

    def resume(self, pid: int) -> None:
        """Let a process go on that stops itself, once it has."""
        self.stopped(pid)
        os.kill(pid, signal.SIGCONT)

    def gone(self, pid: int) -> None:
        """Return when the process is gone; fail if it does not go."""
        assert ends(pid), f"process {pid} lives on"

    # The end

    @staticmethod
    def exit_code(pid: int) -> int:
        """Reap a child of the test's and return its exit code, or the negative signal."""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def ours(self) -> set[int]:
        """Return keeper, pump and jobs: whoever has the home in its arguments or the mark in its environment."""
        found = set()
        path, mark = os.fsencode(self.home.path), self.mark.encode()
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                try:
                    words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                    marks = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if mark in marks or path in words or path + b"/logs" in words:
                    found.add(int(entry))
        return found

    def mains(self) -> set[int]:
        """Return the main processes that are there, and the inits: not all of them show our mark."""
        found = set()
        started = [record for record in self.records if isinstance(record, Started)]
        for pid, start in [(one.pid, one.start) for one in started] + [(one.init, one.init_start) for one in started]:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[19]) == start:
                found.add(pid)
        return found

    def keepers(self) -> set[int]:
        return {pid for pid in self.ours() if os.fsencode(KEEPER) in _words(pid)}

    def pumps(self) -> set[int]:
        pump = os.fsencode(KEEPER.parents[1] / "pump" / "__main__.py")
        return {pid for pid in self.ours() if pump in _words(pid)}

    async def close(self) -> None:
        """Leave nothing: neither process, nor cgroup, nor run folder."""
        service = self.keepers() | self.pumps()
        self._end(self.ours() - service | self.mains())
        try:
            async with asyncio.timeout(scaled(2)):
                if self.links and self.keepers():
                    link = next((link for link in self.links if link.hello and _is_open(link)), None)
                    if link is None:
                        link = self.new_link()
                        await link.open()
                    await link.ask("quit")
        except Exception as error:
            print(f"the keeper did not answer: {error!r}")
        for link in self.links:
            link.close()
        for pid in self.keepers():
            ends(pid, scaled(2))
        self._end(self.keepers())  # first: it would start another pump
        self._end(self.ours())
        for fd in self._controls.values():
            os.close(fd)
        for reader in self._readers.values():
            reader.close()
        if self._journal:
            self._journal.close()
        for link in self.links:
            _reap(link.hello.get("pid", 0))
        if self.group and os.path.isdir(self.group):
            for folder, _, _ in os.walk(self.group, topdown=False):
                os.rmdir(folder)
        if self.home.keeper_log.exists() and (said := self.home.keeper_log.read_text()):
            print(said)
        shutil.rmtree(self.run, ignore_errors=True)  # the keeper removes it at its end

    @staticmethod
    def _end(pids: set[int]) -> None:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for pid in pids:
            ends(pid)


def _is_open(link: KeeperLink) -> bool:
    return link._sock is not None


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def start_keeper_under(host: Host, under: Sequence[str]) -> None:
    """Start the keeper by a command that executes its arguments."""
    path = str(host.run / "keeper.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(8)
        keeper = [sys.executable, "-I", "-S", str(KEEPER), str(host.home.path), str(host.run)]
        os.posix_spawnp(
            under[0],
            [*under, *keeper],
            {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, listener.fileno(), 3),
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(host.home.keeper_log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
