"""An agent that answers with control characters, or with what is no answer, commands neither terminal nor shell."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from tests.cli.test_terminal import on_a_terminal
from tests.support.authority import SERVER, Authority
from websockets.asyncio.server import ServerConnection, serve

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

EVIL = "\x1b[2J\x9b2J\x07\u202e\u2028x\ny\rz"
Answer = Callable[[str], dict[str, Any]]


@pytest.fixture
def lie(tmp_path: Path) -> Iterator[Callable[[Answer], dict[str, str]]]:
    """Return the environment of a `jw` whose agent answers each method with what a function returns."""
    authority = Authority(tmp_path / "authority", "Ours")
    pair = authority.issue("server", names=[x509.DNSName("localhost")], usage=[SERVER])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, threading.Thread]] = []

    def lie(answer: Answer) -> dict[str, str]:
        ready: Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Queue()

        async def talk(connection: ServerConnection) -> None:
            async for text in connection:
                request = json.loads(text)
                await connection.send(json.dumps({"id": request["id"]} | answer(request["method"])))

        async def run() -> None:
            over = asyncio.Event()
            async with serve(talk, "127.0.0.1", 0, ssl=context, subprotocols=["jobworker.v1"]) as server:  # type: ignore[list-item]
                port = next(iter(server.sockets)).getsockname()[1]
                ready.put((asyncio.get_running_loop(), over, port))
                await over.wait()

        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        loop, over, port = ready.get()
        ends.append((loop, over, thread))
        return {"JW_ADDRESS": f"wss://localhost:{port}/rpc", "JW_CA": str(authority.ca), "JW_TOKEN": "x"}

    yield lie
    for loop, over, thread in ends:
        loop.call_soon_threadsafe(over.set)
        thread.join()


def harmless(said: bytes) -> bool:
    text = said.decode()
    return not any(char in text for char in "\x9b\x07\u202e\u2028") and "\x1b[2J" not in text


def test_ids_with_control_characters(jw: "Jw", lie: Callable[[Answer], dict[str, str]]) -> None:
    """An id is one line, for a terminal and for xargs."""
    env = lie(lambda method: {"result": {"jobs": [{"id": EVIL}, {"id": EVIL}], "next": None}})
    assert harmless(on_a_terminal("ps", "-q", **env))
    assert len(jw("ps", "-q", **env).stdout.splitlines()) == 2


def test_an_error_with_control_characters(jw: "Jw", lie: Callable[[Answer], dict[str, str]]) -> None:
    data = {"hint": EVIL, "message": "twice", "self": 1, "job": EVIL, EVIL: EVIL}
    env = lie(lambda method: {"error": {"code": 40401, "message": EVIL, "data": data}})
    for arguments in (
        ["status", "x"],
        ["status", "--json", "x"],
        ["run", "true"],
        ["rpc", "x"],
        ["events"],
        ["stop", "x"],
    ):
        for more in ({}, {"JW_DEBUG": "1"}):
            said = on_a_terminal(*arguments, **env, **more)
            assert harmless(said), said
            assert b"TypeError" not in said, said
    assert jw("status", "x", **env).returncode == 3


def test_an_exit_code_that_is_none(jw: "Jw", lie: Callable[[Answer], dict[str, str]]) -> None:
    """256 is not success."""
    exit_ = {"code": 256, "signal": None, "reason": "finished", "message": ""}
    env = lie(lambda method: {"result": {"id": "a" * 12, "exit": exit_, "state": "exited", "name": None}})
    assert jw("wait", "a" * 12, **env).returncode == 125
