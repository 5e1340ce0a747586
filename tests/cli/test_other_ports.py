"""The agent behind another port, as by docker -p, ssh -L or a proxy; and errors whose hint fits their cause."""

import asyncio
import contextlib
import http.client
import queue
import ssl
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.conftest import RunningAgent

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


@pytest.fixture
def tunnel(shared: RunningAgent) -> Iterator[int]:
    """A port, of every address of this host, that leads to the agent's."""
    ready: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = queue.Queue()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", shared.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async def serve() -> None:
        over = asyncio.Event()
        async with await asyncio.start_server(accept, "0.0.0.0", 0) as server:
            ready.put((asyncio.get_running_loop(), over, server.sockets[0].getsockname()[1]))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    loop, over, port = ready.get()
    yield port
    loop.call_soon_threadsafe(over.set)
    thread.join()


def test_jw_through_a_port_that_docker_publishes(jw: "Jw", shared: RunningAgent, tunnel: int) -> None:
    env = {"JW_TOKEN": shared.token, "JW_CA": str(shared.ca)}
    for name in ("localhost", "127.0.0.1"):
        done = jw("--address", f"wss://{name}:{tunnel}/rpc", "run", "echo", "hi", **env)
        assert (done.returncode, done.stdout) == (0, "hi\n"), done


def test_the_complete_name_and_an_empty_port(shared: RunningAgent) -> None:
    """As `curl https://localhost.:PORT` sends it, and as RFC 3986 allows it; more than that is another name."""
    sent = ("localhost.", "localhost.:7443", "127.0.0.1:", "localhost..", "localhost.evil", "localhost:x")
    assert [_status(shared, host) for host in sent] == [401, 401, 401, 403, 403, 403]


def _status(agent: RunningAgent, host: str) -> int:
    """Return the status of the answer to an upgrade with a wrong token: 401 if the `Host` is a name of it."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", agent.port, context=ssl.create_default_context(cafile=str(agent.ca))
    )
    headers = {"Host": host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Authorization": "Bearer jw1_wrong"}
    try:
        connection.request("GET", "/rpc", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_name_that_is_not_the_agents(jw: "Jw", shared: RunningAgent, tunnel: int) -> None:
    """The hint is about names and not about the token, and the exit code is not that of a refused login."""
    done = jw("--address", f"wss://127.0.0.2:{tunnel}/rpc", "--insecure", "--token", shared.token, "ps")
    assert (done.returncode, "server.names" in done.stderr, "token right" in done.stderr) == (6, True, False), done


def test_each_answer_has_its_own_hint(jw: "Jw", shared: RunningAgent) -> None:
    env = {"JW_CA": str(shared.ca)}
    wrong = jw("--address", shared.address, "--token", "jw1_wrong", "ps", **env)
    assert (wrong.returncode, "is the token right" in wrong.stderr) == (4, True), wrong
    path = jw("--address", shared.address + "x", "--token", "jw1_wrong", "ps", **env)
    assert (path.returncode, "is the path right" in path.stderr, "token" in path.stderr) == (6, True, False), path
