"""Listening on several addresses: each is reached, the local `jw` finds one, and a restart in place keeps all."""

import socket

import pytest

from jobworker.client import connect
from jobworker.paths import Home
from jobworker.testing import RunningAgent

SEVERAL = '["127.0.0.1", "127.0.0.2"]'


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ('"::"', ["127.0.0.1", "[::1]", "localhost"]),
        ('"0.0.0.0"', ["127.0.0.1", "localhost"]),
        ('["::1", "127.0.0.1"]', ["127.0.0.1", "[::1]"]),
        (SEVERAL, ["127.0.0.1", "127.0.0.2"]),
        ('["127.0.0.2"]', ["127.0.0.2"]),
        ('["0.0.0.0", "127.0.0.1"]', ["127.0.0.1", "localhost"]),
        ('["0.0.0.0", "::"]', ["127.0.0.1", "[::1]"]),
    ],
)
async def test_every_address(home: Home, host: str, reached: list[str]) -> None:
    if "::" in host and not socket.has_dualstack_ipv6():
        pytest.skip("the host has no IPv6")
    agent = RunningAgent(home, f"[server]\nhost = {host}\n")
    agent.start()
    for name in reached:
        async with connect(f"wss://{name}:{agent.port}/rpc", token=agent.token, ca=agent.ca) as client:
            await client.call("agent.ping")
    assert agent.jw("run", "--", "echo", "hello").stdout == "hello\n"
    await agent.clean()


async def test_a_restart_in_place(home: Home) -> None:
    """All sockets are handed on: each address is reached afterwards, on the same port."""
    agent = RunningAgent(home, f"[server]\nhost = {SEVERAL}\n")
    agent.start()
    port = agent.port
    assert agent.jw("agent", "restart").returncode == 0
    for name in ("127.0.0.1", "127.0.0.2"):
        async with connect(f"wss://{name}:{port}/rpc", token=agent.token, ca=agent.ca) as client:
            await client.call("agent.ping")
    await agent.clean()
