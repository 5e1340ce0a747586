"""circus: watchers that are not respawned, started and looked at over its ZeroMQ socket by a driver of its own."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

from tests.benchmarks.figures import private_memory
from tests.benchmarks.fixtures import DEADLINE, BenchmarkError
from tests.benchmarks.peers.peer import LANES, PROGRAM, Running, Skipped, Start

SLEEPERS = 50
DRIVER = Path(__file__).with_name("circus_driver.py")
CONFIG = """
[circus]
endpoint = ipc://{folder}/endpoint
pubsub_endpoint = ipc://{folder}/pubsub
check_delay = 0.1
"""
WATCHER = """
[watcher:{name}]
cmd = {command}
autostart = false
respawn = false
"""


class Circus:
    lanes = 1  # it refuses a start while it carries out another one

    def __init__(self, pid: int, driver: asyncio.subprocess.Process) -> None:
        self._pid = pid
        self._driver = driver
        self._answers: dict[str, list[asyncio.Future[None]]] = {}  # by the line that was sent
        self._reading = asyncio.create_task(self._read())

    async def run(self, lane: int) -> None:
        await self._send(f"run {lane}")

    async def status(self) -> None:
        await self._send("status")

    async def hold(self, count: int) -> tuple[int, int]:
        before = private_memory(self._pid)
        for number in range(count):
            await self._send(f"start {number}")
        return before, private_memory(self._pid)

    async def _send(self, line: str) -> None:
        answer = asyncio.get_running_loop().create_future()
        self._answers.setdefault(line, []).append(answer)
        assert self._driver.stdin is not None
        self._driver.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(DEADLINE):
            await answer

    async def _read(self) -> None:
        assert self._driver.stdout is not None
        while line := (await self._driver.stdout.readline()).decode().strip():
            call, _, error = line.partition(": ")
            answer = self._answers[call].pop(0)
            if error:
                answer.set_exception(BenchmarkError(f"circus: {line}"))
            else:
                answer.set_result(None)

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._driver.kill()
        await self._driver.wait()
        self._reading.cancel()


def starter(folder: Path) -> Start:
    """Return how to start it; `folder` has its programs `circusd` and `python`."""

    @contextlib.asynccontextmanager
    async def start() -> Running:
        if not (folder / "circusd").exists():
            raise Skipped(f"{folder / 'circusd'} is not there; `make bench-peers` installs it from PyPI")
        with tempfile.TemporaryDirectory(prefix="jobworker-bench-") as place:
            watchers = [(f"true{number}", PROGRAM) for number in range(LANES)]
            watchers += [(f"sleep{number}", "sleep 3600") for number in range(SLEEPERS)]
            config = Path(place, "config")
            config.write_text(
                CONFIG.format(folder=place)
                + "".join(WATCHER.format(name=name, command=command) for name, command in watchers)
            )
            quiet = asyncio.subprocess.DEVNULL
            process = await asyncio.create_subprocess_exec(folder / "circusd", config, stdout=quiet, stderr=quiet)
            pipe = asyncio.subprocess.PIPE
            driver = await asyncio.create_subprocess_exec(
                folder / "python", "-I", DRIVER, f"ipc://{place}/endpoint", stdin=pipe, stdout=pipe
            )
            circus = Circus(process.pid, driver)
            try:
                await circus.status()  # it waits until circus answers
                yield circus
            finally:
                await circus.end()
                process.terminate()
                await process.wait()

    return start
