"""Fixtures: agents that are shared by many tests, and connections to them. tests/conftest.py has them for all."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import DEADLINE
from tests.support.wire import Dial, Gate, Upgrade, Wire, tls
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from jobworker.paths import Home
from jobworker.testing import RunningAgent

OWN = "its own"


@pytest.fixture(scope="session")
def dial() -> Dial:
    @contextlib.asynccontextmanager
    async def dial(
        agent: RunningAgent,
        *,
        token: str | None = OWN,
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        path: str = "/rpc",
    ) -> AsyncIterator[Wire]:
        chosen = agent.token if token == OWN else token
        given = [("Authorization", f"Bearer {chosen}")] if chosen is not None else []
        async with connect(
            f"wss://127.0.0.1:{agent.port}{path}",
            ssl=tls(agent),
            additional_headers=[*given, *headers],
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            compression=None,
            max_size=None,
            close_timeout=1,
            proxy=None,
        ) as connection:
            yield Wire(connection)

    return dial


@contextlib.contextmanager
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningAgent]]:
    """Yield a function that starts agents, with the arguments of RunningAgent; clean up after them."""
    started: list[RunningAgent] = []

    def start(**how: Any) -> RunningAgent:
        agent = RunningAgent(Home(tmp_path_factory.mktemp("agent") / "home"), **how)
        agent.start()
        started.append(agent)
        return agent

    yield start
    for agent in started:
        asyncio.run(agent.clean())


@pytest.fixture(scope="module")
def start_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningAgent]]:
    """Start agents that live as long as the tests of a module: a user has 128 inotify instances, not any number."""
    with agents(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """An agent with the default configuration, for all tests of the session."""
    with agents(tmp_path_factory) as start:
        yield start()


@pytest.fixture
async def wire(shared: RunningAgent, dial: Dial) -> AsyncIterator[Wire]:
    """A connection with the role admin to the shared agent."""
    async with dial(shared) as wire:
        yield wire


@pytest.fixture
async def second(shared: RunningAgent, dial: Dial) -> AsyncIterator[Wire]:
    """Another connection with the same credentials."""
    async with dial(shared) as wire:
        yield wire


@pytest.fixture(scope="session")
def upgrade() -> Upgrade:
    def ask(agent: RunningAgent, lines: list[str]) -> tuple[int, dict[str, str], str]:
        with (
            socket.create_connection(("127.0.0.1", agent.port), timeout=DEADLINE) as plain,
            tls(agent).wrap_socket(plain, server_hostname="127.0.0.1") as sock,
        ):
            sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            data = b""
            while b"\r\n\r\n" not in data and (more := sock.recv(65536)):
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            if b" 101 " not in head[:16]:
                while more := sock.recv(65536):
                    body += more
        status, *rest = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in rest)
        return int(status.split()[1]), headers, body.decode(errors="replace")

    async def upgrade(
        agent: RunningAgent, *headers: tuple[str, str], host: str | None = None, path: str = "/rpc"
    ) -> tuple[int, dict[str, str], str]:
        lines = [f"GET {path} HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
        lines += [f"Host: {host if host is not None else f'127.0.0.1:{agent.port}'}"] if host != "" else []
        lines += [f"{name}: {value}" for name, value in headers]
        return await asyncio.to_thread(ask, agent, lines)

    return upgrade


async def pids_of(wire: Wire) -> tuple[int, int, int]:
    info = await wire.ask("agent.info")
    return info["pid"], info["keeper"]["pid"], info["keeper"]["pump"]


@pytest.fixture(scope="module")
def unharmed(shared: RunningAgent, dial: Dial) -> Iterator[None]:
    """Whatever a module sent: agent, keeper and pump are the same processes, and a job runs to its end."""

    async def look() -> tuple[int, int, int]:
        async with dial(shared) as wire:
            run = await wire.ask("job.run", spec={"shell": "echo fine; exit 5"})
            log = await wire.follow(run["subscription"])
            assert log.stdout == b"fine\n"
            assert log.end is not None
            assert log.end["exit"]["code"] == 5
            return await pids_of(wire)

    before = asyncio.run(look())
    yield
    assert asyncio.run(look()) == before


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Callable[[], Gate]]:
    gates: list[Gate] = []

    def make() -> Gate:
        gates.append(Gate(tmp_path / f"gate{len(gates)}"))
        return gates[-1]

    yield make
    for one in gates:
        one.close()
