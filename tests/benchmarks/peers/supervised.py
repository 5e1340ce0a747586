"""supervisor: programs that are not restarted, started and looked at over its Unix socket."""

import asyncio
import contextlib
import http.client
import socket
import tempfile
import threading
import xmlrpc.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import private_memory
from tests.benchmarks.fixtures import DEADLINE, require
from tests.benchmarks.peers.peer import LANES, PROGRAM, Running, Skipped, Start

SLEEPERS = 200
CONFIG = """
[unix_http_server]
file={folder}/socket
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={folder}/pid
childlogdir={folder}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:true]
command={program}
process_name=%(process_num)d
numprocs={lanes}
autostart=false
autorestart=false
startsecs=0
[program:sleep]
command=sleep 3600
process_name=%(process_num)d
numprocs={sleepers}
autostart=false
autorestart=false
startsecs=0
"""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, _: Any) -> http.client.HTTPConnection:
        return _Connection(self._path)


class Supervised:
    lanes = LANES

    def __init__(self, path: Path, pid: int) -> None:
        self._path = path
        self._pid = pid
        self._threads = ThreadPoolExecutor(LANES)
        self._proxies = threading.local()  # a proxy belongs to one thread

    async def run(self, lane: int) -> None:
        await self._in_thread(lambda proxy: _run(proxy, lane))

    async def status(self) -> None:
        await self._in_thread(lambda proxy: proxy.supervisor.getProcessInfo("true:0"))

    async def hold(self, count: int) -> tuple[int, int]:
        before = private_memory(self._pid)
        for number in range(count):
            await self._in_thread(partial(_start, number))
        return before, private_memory(self._pid)

    async def _in_thread(self, call: Callable[[Any], object]) -> None:
        def carry() -> None:
            if not hasattr(self._proxies, "proxy"):
                transport = _Transport(str(self._path))
                self._proxies.proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
            call(self._proxies.proxy)

        await asyncio.get_running_loop().run_in_executor(self._threads, carry)


def _start(number: int, proxy: Any) -> None:
    proxy.supervisor.startProcess(f"sleep:{number}")


def _run(proxy: Any, lane: int) -> None:
    """Start one; its interface has no call that waits for an end, so it is asked until the program has exited."""
    proxy.supervisor.startProcess(f"true:{lane}", False)
    while (info := proxy.supervisor.getProcessInfo(f"true:{lane}"))["statename"] != "EXITED":
        require(info["statename"] in ("STARTING", "RUNNING"), f"supervisor: {info}")
    require(info["exitstatus"] == 0, f"supervisor: {info}")


def starter(program: Path) -> Start:
    """Return how to start it; `program` is its `supervisord`."""

    @contextlib.asynccontextmanager
    async def start() -> Running:
        if not program.exists():
            raise Skipped(f"{program} is not there; `make bench-peers` installs it from PyPI")
        with tempfile.TemporaryDirectory(prefix="jobworker-bench-") as folder:
            config = Path(folder, "config")
            config.write_text(CONFIG.format(folder=folder, program=PROGRAM, lanes=LANES, sleepers=SLEEPERS))
            process = await asyncio.create_subprocess_exec(
                program, "-c", config, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            try:
                async with asyncio.timeout(DEADLINE):
                    while not Path(folder, "socket").exists():
                        require(process.returncode is None, "supervisord does not start")
                        await asyncio.sleep(0.02)
                yield Supervised(Path(folder, "socket"), process.pid)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()

    return start
