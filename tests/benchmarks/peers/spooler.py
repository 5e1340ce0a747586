"""task-spooler: each call is a run of the program `tsp`, as its users run it."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.figures import private_memory
from tests.benchmarks.fixtures import require
from tests.benchmarks.peers.peer import LANES, PROGRAM, Running, Skipped


class Spooler:
    lanes = LANES

    def __init__(self, program: str, folder: str) -> None:
        self._program = program
        self._environment = {
            "PATH": os.defpath,
            "TS_SOCKET": f"{folder}/socket",
            "TS_SLOTS": str(LANES + 1),  # the job that is asked for runs all the time
            "TS_MAXFINISHED": "1000",
            "TMPDIR": folder,
        }
        self._threads = ThreadPoolExecutor(
            LANES
        )  # each waits for one run of tsp; os.posix_spawn is the cheapest start

    async def run(self, lane: int) -> None:
        await self.call("-nf", PROGRAM)

    async def status(self) -> None:
        await self.call("-s", "0")

    async def hold(self, count: int) -> tuple[int, int]:
        servers = children_with(self._environment["TS_SOCKET"])
        before = sum(map(private_memory, servers))
        await self.call("-S", str(count + 1))
        for _ in range(count):
            await self.call("-n", "sleep", "3600")
        # Each job has a process of the spooler that waits for it.
        return before, sum(map(private_memory, children_with(self._environment["TS_SOCKET"])))

    async def call(self, *words: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._call, words)

    def _call(self, words: Sequence[str]) -> None:
        quiet = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]
        pid = os.posix_spawn(self._program, ["tsp", *words], self._environment, file_actions=quiet)
        _, status = os.waitpid(pid, 0)
        require(status == 0, f"tsp {' '.join(words)}: wait status {status}")

    async def end(self) -> None:
        for pid in children_with(self._environment["TS_SOCKET"], "sleep"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        await self.call("-K")
        self._threads.shutdown()


def children_with(socket: str, name: str = "tsp") -> list[int]:
    """Return the pids of processes of this name that have this socket in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text().strip() == name and socket.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


@contextlib.asynccontextmanager
async def start() -> Running:
    program = shutil.which("tsp") or shutil.which("tsp", path="/usr/bin")
    if program is None:
        raise Skipped("there is no program tsp; `apt install task-spooler` installs it")
    with tempfile.TemporaryDirectory(prefix="jobworker-bench-") as folder:
        spooler = Spooler(program, folder)
        try:
            await spooler.call("-l")  # the first call starts the server
            await spooler.call("-n", "sleep", "3600")  # job 0
            yield spooler
        finally:
            await spooler.end()
