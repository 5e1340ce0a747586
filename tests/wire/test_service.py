"""The agent as the main process of a service: what it reports to systemd, and what its jobs do not notice."""

import asyncio
import os
import queue
import shlex
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import DEADLINE, RunningAgent
from tests.support.waiting import alive

from jobworker.model import JobSpec, Reason, State
from jobworker.paths import Home
from jobworker.service import VARIABLES

if TYPE_CHECKING:
    from jobworker.client import Client

FOREGROUND = "[server]\nport = 0\n"
SLEEP = JobSpec(argv=["sleep", "1000"])
WATCHDOG = "200000"  # microseconds


class Manager:
    """What systemd is to a service: a datagram socket that knows the pid of each sender."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self._reports: queue.Queue[dict[str, str]] = queue.Queue()
        self._reader = threading.Thread(target=self._receive)
        self._reader.start()

    def _receive(self) -> None:
        """Take each report at once, as systemd does: the kernel keeps ten of them."""
        while True:
            data, ancillary, _, _ = self._sock.recvmsg(4096, 1024)
            if not data:
                return
            fields = dict(line.split("=", 1) for line in data.decode().splitlines())
            self._reports.put(fields | {"from": str(int.from_bytes(ancillary[0][2][:4], "little"))})

    async def next(self, *, watchdog: bool = False) -> dict[str, str]:
        """Return the next report; signs of life only with `watchdog`."""
        while True:
            fields = await asyncio.to_thread(self._reports.get, timeout=DEADLINE)
            if ("WATCHDOG" in fields) == watchdog:
                return fields

    def nothing(self) -> bool:
        """Return whether nothing has been reported since the last `next`."""
        return self._reports.empty()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._sock.shutdown(socket.SHUT_RD)  # ends the reader
            self._reader.join()
            self._sock.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@jobworker-{os.getpid()}-{tmp_path.name}"
    manager = Manager(address)
    yield manager
    manager.close()


@dataclass
class Start:
    """Starts agents with an environment as systemd makes it; `$$` in a value is the agent's own pid."""

    home: Home
    started: list[RunningAgent]

    def __call__(self, config: str = "", **environ: str) -> RunningAgent:
        words = " ".join(f"{name}={value}" for name, value in environ.items())
        under = ["sh", "-c", f'export {words}; exec "$@"', "sh"]
        agent = RunningAgent(self.home, FOREGROUND + config, local=False, under=under)
        agent.start()
        self.started[:] = [agent]
        return agent

    def service(self, manager: Manager, config: str = "") -> RunningAgent:
        return self(
            config,
            NOTIFY_SOCKET=shlex.quote(manager.address),
            SYSTEMD_EXEC_PID="$$",
            WATCHDOG_PID="$$",
            WATCHDOG_USEC=WATCHDOG,
            LISTEN_PID="$$",
            LISTEN_FDS="0",
            LISTEN_FDNAMES="none",
        )


@pytest.fixture
async def start(home: Home) -> AsyncIterator[Start]:
    start = Start(home, [])
    yield start
    for agent in start.started:
        agent.under = []
        await agent.clean()


async def run(client: "Client", spec: JobSpec = SLEEP) -> int:
    job = await client.start((await client.create(spec)).id)
    assert job.pid
    return job.pid


def environ_of(pid: int) -> set[str]:
    return {entry.partition("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")}


async def test_start_reload_and_end_are_reported(start: Start, manager: Manager) -> None:
    agent = start.service(manager)
    ready = await manager.next()
    assert ready == {
        "READY": "1", "MAINPID": str(agent.pid), "STATUS": f"listening on {agent.address}", "from": str(agent.pid)
    }  # fmt: skip
    os.kill(agent.pid, signal.SIGHUP)
    reloading = await manager.next()
    assert reloading["RELOADING"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert await manager.next() == ready
    os.kill(agent.pid, signal.SIGTERM)
    stopping = await manager.next()
    assert stopping["STOPPING"] == "1"
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 60e6
    assert agent.process
    assert await asyncio.to_thread(agent.process.wait, DEADLINE) == 0


async def test_a_restart_in_place_is_a_reload(start: Start, manager: Manager) -> None:
    """The same process is back, and the watchdog has its sign of life from it."""
    agent = start.service(manager)
    before = await manager.next()
    for _ in range(2):
        async with agent.client() as client:
            await client.call("agent.restart")
            await client.closed()
        assert (await manager.next())["RELOADING"] == "1"
        assert await manager.next() == before
        assert (await manager.next(watchdog=True))["from"] == str(agent.pid)


async def test_the_watchdog_gets_a_sign_of_life_as_long_as_the_loop_turns(start: Start, manager: Manager) -> None:
    agent = start.service(manager)
    for _ in range(5):
        assert await manager.next(watchdog=True) == {"WATCHDOG": "1", "from": str(agent.pid)}


async def test_a_service_leaves_its_jobs(start: Start, manager: Manager) -> None:
    """`systemctl restart`: the next agent has the same jobs."""
    agent = start.service(manager)
    async with agent.client() as client:
        pid = await run(client)
    assert await asyncio.to_thread(agent.end) == 0
    assert alive(pid)
    agent = start.service(manager)
    async with agent.client() as client:
        [job] = await client.list()
        assert (job.state, job.pid) == (State.RUNNING, pid)


async def test_a_service_may_stop_its_jobs_by_choice(start: Start, manager: Manager) -> None:
    agent = start.service(manager, '[agent]\non_shutdown = "stop"\n')
    async with agent.client() as client:
        pid = await run(client)
    assert await asyncio.to_thread(agent.end) == 0
    assert not alive(pid)


@pytest.mark.parametrize(
    "environ",
    [
        {"INVOCATION_ID": "0123", "JOURNAL_STREAM": "8:1"},
        {"SYSTEMD_EXEC_PID": "1", "WATCHDOG_PID": "1", "WATCHDOG_USEC": WATCHDOG},
        {"WATCHDOG_PID": "1", "WATCHDOG_USEC": WATCHDOG},
    ],
)
async def test_a_shell_in_a_service_is_no_service(
    start: Start, manager: Manager, environ: dict[str, str], request: pytest.FixtureRequest
) -> None:
    """It inherits the variables of the main process; an agent in its foreground stops its jobs as anywhere."""
    if "SYSTEMD_EXEC_PID" in environ:  # so the socket is known to be another's
        environ = environ | {"NOTIFY_SOCKET": shlex.quote(manager.address)}
    agent = start(**environ)
    async with agent.client() as client:
        pid = await run(client)
    assert await asyncio.to_thread(agent.end) == 0
    assert not alive(pid)
    assert manager.nothing()


async def test_before_systemd_248_the_watchdog_decides(start: Start) -> None:
    agent = start(WATCHDOG_PID="$$", WATCHDOG_USEC=WATCHDOG)
    async with agent.client() as client:
        pid = await run(client)
    assert await asyncio.to_thread(agent.end) == 0
    assert alive(pid)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NOTIFY_SOCKET", "/nowhere/notify"), ("NOTIFY_SOCKET", "vsock:2:9"), ("WATCHDOG_USEC", "soon")],
)
async def test_a_service_manager_that_cannot_be_reached(start: Start, variable: str, value: str) -> None:
    """The agent serves all the same, and its log names the reason."""
    agent = start(**{"SYSTEMD_EXEC_PID": "$$", "WATCHDOG_PID": "$$", "WATCHDOG_USEC": WATCHDOG, variable: value})
    async with agent.client() as client:
        assert await client.call("agent.ping")
    assert await asyncio.to_thread(agent.end) == 0
    assert "WARNING jobworker.service: " in agent.home.agent_log.read_text()


async def test_the_socket_goes_while_the_agent_runs(start: Start, tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    agent = start.service(manager)
    await manager.next()
    manager.close()
    (tmp_path / "notify").unlink()
    os.kill(agent.pid, signal.SIGHUP)
    async with agent.client() as client:
        assert await client.call("agent.ping")
    assert await asyncio.to_thread(agent.end) == 0


async def test_nothing_else_gets_the_variables(start: Start, manager: Manager, tmp_path: Path) -> None:
    """Neither keeper nor pump nor a job nor a command beside it could report in the agent's name."""
    said = tmp_path / "said"
    agent = start.service(manager)
    async with agent.client() as client:
        job = await client.start((await client.create(SLEEP)).id)
        keeper = (await client.call("agent.info"))["keeper"]
        for pid in (keeper["pid"], keeper["pump"], job.pid):
            assert pid
            assert not environ_of(pid) & set(VARIABLES)
        options = {"argv": ["sh", "-c", f"env > {said}; kill $JOBWORKER_JOB_PID"]}
        await client.call("job.stop", id=job.id, stop={"strategy": "command", "options": options})
    assert "PATH=" in said.read_text()
    assert not {line.partition("=")[0] for line in said.read_text().splitlines()} & set(VARIABLES)


def executed_anew(pid: int) -> bool:
    return b"--inherited" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


@pytest.mark.parametrize("policy", ["stop", "leave"])
@pytest.mark.parametrize("reached", [lambda pid: True, executed_anew], ids=["before exec", "after exec"])
async def test_sigterm_during_a_restart_in_place(
    start: Start, tmp_path: Path, reached: Callable[[int], bool], policy: str
) -> None:
    """It is neither forgotten nor answered by a death: the agent is back, and ends as it is configured to."""
    manager = Manager(str(tmp_path / "notify"))
    agent = start.service(manager, f'[agent]\non_shutdown = "{policy}"\n')
    async with agent.client() as client:
        pid = await run(client)
        await manager.next()
        await client.call("agent.restart")
        assert "RELOADING" in await manager.next()
        while not reached(agent.pid):
            pass
        os.kill(agent.pid, signal.SIGHUP)
        os.kill(agent.pid, signal.SIGTERM)
    assert agent.process
    assert await asyncio.to_thread(agent.process.wait, DEADLINE) == 0
    assert alive(pid) == (policy == "leave")
    manager.close()
    agent = start()
    async with agent.client() as client:
        [job] = await client.list()
        assert (job.exit.reason if job.exit else None) == (Reason.SHUTDOWN if policy == "stop" else None)
