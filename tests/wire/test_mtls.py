"""Client certificates: which are accepted, as which principal, and how others are refused."""

import asyncio
import datetime
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import FOR_OTHERS
from tests.support.authority import CLIENT, NOW, SERVER, Authority, Pair
from tests.support.waiting import DEADLINE

from jobworker.client import connect
from jobworker.config import BUILT_IN
from jobworker.errors import ConnectionFailed, Unauthenticated
from jobworker.model import Principal
from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial

Start = Callable[..., "RunningAgent"]
WRONG = "jw1_" + "A" * 43
ROLES = '{"alice" = ["writer"], "ops-*" = ["admin"]}'


def configuration(client_ca: Path, providers: str = '"mtls", "token"', rules: str = f"roles = {ROLES}") -> str:
    return (
        f'[server]\nclient_ca = "{client_ca}"\n[auth]\nproviders = [{providers}]\n'
        f"[plugins]\nenabled = {[*BUILT_IN, 'mtls']}\n[plugins.mtls]\n{rules}\n{FOR_OTHERS}"
    )


@pytest.fixture(scope="module")
def agent(start_agent: Start, authority: Authority) -> "RunningAgent":
    """An agent that asks the certificate first, then the token."""
    return start_agent(config=configuration(authority.ca))


@pytest.fixture
async def lone(tmp_path: Path) -> "AsyncIterator[RunningAgent]":
    """An agent whose client CA is a file of its own: that of `authority` in the same folder."""
    from tests.conftest import RunningAgent

    running = RunningAgent(Home(tmp_path / "home"), configuration(tmp_path / "client_ca.pem"))
    (tmp_path / "client_ca.pem").write_bytes(Authority(tmp_path / "first").ca.read_bytes())
    running.start()
    yield running
    await running.clean()


async def whoami(agent: "RunningAgent", pair: Pair | None, token: str | None = None) -> Principal:
    cert, key = (pair.cert, pair.key) if pair else (None, None)
    async with connect(agent.address, token=token, ca=agent.ca, cert=cert, key=key) as client:
        return await client.whoami()


# Who gets in


async def test_a_certificate_is_enough(agent: "RunningAgent", authority: Authority) -> None:
    """The certificate gives the principal and the expiry, and rules give the roles."""
    pair = authority.issue("alice")
    assert await whoami(agent, pair) == Principal("alice", "mtls", ["writer"], expires_at=pair.end)
    assert (await whoami(agent, authority.issue("ops-1", usage=[SERVER, CLIENT]))).roles == ["admin"]


async def test_a_job_belongs_to_the_name_in_the_certificate(agent: "RunningAgent", authority: Authority) -> None:
    """A caller with another certificate of the same name controls the same jobs."""
    first, second = authority.issue("alice"), authority.issue("alice")
    async with connect(agent.address, ca=agent.ca, cert=first.cert, key=first.key) as client:
        job = (await client.call("job.create", spec={"shell": ":"}))["id"]
    async with connect(agent.address, ca=agent.ca, cert=second.cert, key=second.key) as client:
        await client.delete(job)


async def test_a_client_without_a_certificate(agent: "RunningAgent", dial: "Dial") -> None:
    """A certificate is optional: tokens work at the upgrade and in the first message."""
    assert (await whoami(agent, None, agent.token)).provider == "token"
    async with dial(agent, token=None) as wire:
        assert (await wire.ask("auth.login", token=agent.token))["name"] == "local"


async def test_it_is_not_asked_for_without_a_client_ca(shared: "RunningAgent", authority: Authority) -> None:
    """An agent without server.client_ca never sees a certificate."""
    with pytest.raises(Unauthenticated, match="not logged in"):
        await whoami(shared, authority.issue("alice"))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"cn": ["bob"]}, "no rule gives it a role"),
        ({"cn": ["ALICE"]}, "no rule gives it a role"),
        ({"cn": ["alice"], "usage": None}, "clientAuth"),
        ({"cn": []}, "0 names of the kind 'cn'"),
        ({"cn": ["alice", "ops-1"]}, "2 names of the kind 'cn'"),
        ({"cn": ["ops-\n1"]}, "printable"),
    ],
    ids=["no-role", "case", "no-usage", "nameless", "two-names", "unprintable"],
)
async def test_a_certificate_that_is_refused(
    agent: "RunningAgent", authority: Authority, how: dict[str, Any], words: str
) -> None:
    """401, with the reason, and with a good token beside it as well: it is a wrong credential."""
    pair = authority.issue(*how.pop("cn"), **how)
    for token in (None, agent.token):
        with pytest.raises(Unauthenticated, match=words):
            await whoami(agent, pair, token)


async def test_a_certificate_that_fails_in_tls(agent: "RunningAgent", authority: Authority, tmp_path: Path) -> None:
    """A foreign one, one for servers alone and one that is over do not get as far as HTTP; a token does not help."""
    imitation = Authority(tmp_path)  # of the same name, with another key
    for pair in (
        imitation.issue("alice"),
        authority.issue("alice", usage=[SERVER]),
        authority.issue("alice", ends=NOW - datetime.timedelta(hours=1)),
    ):
        for token in (None, agent.token):
            with pytest.raises(ConnectionFailed):
                await whoami(agent, pair, token)
    said = agent.home.agent_log.read_text()
    for reason in ("unsuitable certificate purpose", "certificate has expired"):
        assert f"its client certificate is not trusted: {reason}" in said


async def test_the_server_is_no_client(tmp_path: Path) -> None:
    """The agent's own certificate is refused as a client certificate, even if its CA is the client CA."""
    from tests.conftest import RunningAgent

    home = Home(tmp_path / "home")
    agent = RunningAgent(home, configuration(home.tls / "ca.pem", rules='roles = {"*" = ["admin"]}'))
    agent.start()
    own = Pair(home.tls, "server")
    try:
        with pytest.raises(ConnectionFailed):
            await whoami(agent, own)
        assert "unsuitable certificate purpose" in home.agent_log.read_text()
    finally:
        await agent.clean()


async def test_the_server_ca_is_no_client_ca(agent: "RunningAgent") -> None:
    """The CA that vouches for the agent vouches for no client by itself."""
    own = Pair(agent.home.tls, "server")
    with pytest.raises(ConnectionFailed):
        await whoami(agent, own)
    assert "self-signed certificate in certificate chain" in agent.home.agent_log.read_text()


# Certificate and token


async def test_certificate_and_token(start_agent: Start, agent: "RunningAgent", authority: Authority) -> None:
    """Providers are asked in configured order; the first one that accepts or refuses decides."""
    good = authority.issue("alice")
    assert (await whoami(agent, good, agent.token)).provider == "mtls"
    assert (await whoami(agent, good, WRONG)).provider == "mtls"
    assert (await whoami(agent, good, "of-nobody-here")).provider == "mtls"
    other = start_agent(config=configuration(authority.ca, '"token", "mtls"'))
    assert (await whoami(other, good)).provider == "mtls"
    assert (await whoami(other, good, other.token)).provider == "token"
    assert (await whoami(other, good, "of-nobody-here")).provider == "mtls"
    with pytest.raises(Unauthenticated, match="the token is not known"):
        await whoami(other, good, WRONG)
    assert (await whoami(other, authority.issue("bob"), other.token)).provider == "token"


async def test_a_certificate_that_no_provider_knows(start_agent: Start, authority: Authority) -> None:
    """A certificate is a credential: 401 if no provider accepts it, and a token beside it still works."""
    agent = start_agent(config=configuration(authority.ca, '"token"'))
    good = authority.issue("alice")
    with pytest.raises(Unauthenticated, match="no provider knows these certificate credentials"):
        await whoami(agent, good)
    with pytest.raises(Unauthenticated, match="certificate and bearer"):
        await whoami(agent, good, "of-nobody-here")
    assert (await whoami(agent, good, agent.token)).provider == "token"


# Reading the files again


async def reload(agent: "RunningAgent") -> str:
    """Have the agent read its files again, and return the lines that it logs."""
    seen = agent.home.agent_log.stat().st_size
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(DEADLINE):
        while "certificate" not in (said := agent.home.agent_log.read_bytes()[seen:].decode()):
            await whoami(agent, None, agent.token)
    return said


async def test_another_client_ca(lone: "RunningAgent", tmp_path: Path) -> None:
    """After SIGHUP the new CA's clients come in, and those of the old one do not: not in a resumed session either."""
    first, second = Authority(tmp_path / "one"), Authority(tmp_path / "two", "another")
    (tmp_path / "client_ca.pem").write_bytes(first.ca.read_bytes())
    assert "read again" in await reload(lone)
    before, after = first.issue("alice"), second.issue("alice")
    assert (await whoami(lone, before)).name == "alice"
    session, resumed = await asyncio.to_thread(handshake, lone, before, None)
    assert not resumed
    assert (await asyncio.to_thread(handshake, lone, before, session))[1], "there is something to forget"

    (tmp_path / "client_ca.pem").write_bytes(second.ca.read_bytes())
    assert "read again" in await reload(lone)
    assert (await whoami(lone, after)).name == "alice"
    with pytest.raises(ConnectionFailed):
        await whoami(lone, before)
    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(handshake, lone, before, session)


_contexts: dict[Path, ssl.SSLContext] = {}  # a session is resumed by the context that it is of


def handshake(
    agent: "RunningAgent", pair: Pair, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool]:
    """Return the TLS session of a connection, and whether it was resumed."""
    if pair.cert not in _contexts:
        _contexts[pair.cert] = ssl.create_default_context(cafile=agent.ca)
        _contexts[pair.cert].load_cert_chain(pair.cert, pair.key)
        _contexts[pair.cert].maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", agent.port), timeout=DEADLINE) as plain,
        _contexts[pair.cert].wrap_socket(plain, server_hostname="127.0.0.1", session=session) as sock,
    ):
        return sock.session, bool(sock.session_reused)


@pytest.mark.parametrize("broken", ["", "no PEM", None], ids=["empty", "text", "missing"])
async def test_a_broken_client_ca(lone: "RunningAgent", tmp_path: Path, broken: str | None) -> None:
    """It is not used, and the agent logs that: the old CA stays in force."""
    good = Authority(tmp_path / "one")
    place = tmp_path / "client_ca.pem"
    place.write_bytes(good.ca.read_bytes())
    await reload(lone)
    place.unlink()
    if broken is not None:
        place.write_text(broken)
    said = await reload(lone)
    assert f"is not used: server.client_ca: {place}" in said
    assert (await whoami(lone, good.issue("alice"))).name == "alice"
    with pytest.raises(ConnectionFailed):
        await whoami(lone, Authority(tmp_path / "two").issue("alice"))
