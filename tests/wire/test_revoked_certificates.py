"""`jw cert revoke`: a client certificate is refused before its end, and its connections end."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.authority import Authority, Pair
from tests.wire.test_mtls import configuration

from jobworker.client import Client, connect
from jobworker.errors import JobworkerError, Unauthenticated

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

Start = Callable[..., "RunningAgent"]


def opened(agent: "RunningAgent", pair: Pair) -> Client:
    return connect(agent.address, ca=agent.ca, cert=pair.cert, key=pair.key)


async def refused(agent: "RunningAgent", pair: Pair) -> str:
    with pytest.raises(JobworkerError) as caught:
        async with opened(agent, pair) as client:
            await client.whoami()
    return caught.value.message


async def test_a_revoked_certificate(start_agent: Start, authority: Authority) -> None:
    """Its connection ends and it is refused, also beside a valid token; another one of the same name is not."""
    agent = start_agent(config=configuration(authority.ca))
    first, second = authority.issue("alice"), authority.issue("alice")
    async with opened(agent, first) as client, opened(agent, second) as other:
        waiting = asyncio.create_task(client.call("job.wait", id=(await client.call("job.create", spec=SPEC))["id"]))
        await client.whoami()
        done = await asyncio.to_thread(agent.jw, "cert", "revoke", str(first.cert))
        assert done.returncode == 0, done
        with pytest.raises(Unauthenticated):
            await waiting
        assert (await other.whoami()).name == "alice"
    assert "revoked" in await refused(agent, first)
    with pytest.raises(Unauthenticated, match="revoked"):
        async with connect(agent.address, token=agent.token, ca=agent.ca, cert=first.cert, key=first.key) as client:
            await client.whoami()
    async with opened(agent, second) as client:
        assert (await client.whoami()).name == "alice"
    lines = agent.home.revoked.read_text().splitlines()
    assert len(lines) == 1
    assert "CN=alice" in lines[0]
    again = await asyncio.to_thread(agent.jw, "cert", "revoke", str(first.cert), lines[0].split()[0])
    assert (again.returncode, agent.home.revoked.read_text().splitlines()) == (0, lines)


async def test_a_file_of_its_own(start_agent: Start, authority: Authority, tmp_path: Path) -> None:
    """`server.revoked` is read when it changes, also without `jw`; one that is no list refuses every certificate."""
    listed = tmp_path / "revoked"
    text = configuration(authority.ca).replace("[server]\n", f'[server]\nrevoked = "{listed}"\n')
    agent = start_agent(config=text)
    pair = authority.issue("alice")
    async with opened(agent, pair) as client:
        waiting = asyncio.create_task(client.call("job.wait", id=(await client.call("job.create", spec=SPEC))["id"]))
        await client.whoami()
        listed.write_text("nonsense\n")
        with pytest.raises(Unauthenticated):
            await waiting
    assert "revoked" in await refused(agent, pair)
    assert "nonsense" in agent.home.agent_log.read_text()
    listed.write_text("# none\n")
    async with opened(agent, pair) as client:
        assert (await client.whoami()).name == "alice"
    bad = agent.jw("cert", "revoke", "nonsense:", "--out", str(tmp_path / "other"))
    assert (bad.returncode, (tmp_path / "other").exists()) == (6, False)


SPEC = {"argv": ["true"]}  # of a job that nobody starts
