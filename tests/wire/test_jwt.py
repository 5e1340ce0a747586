"""JSON Web Tokens at an agent: at the upgrade, in the first message, and with an issuer that is down."""

import ipaddress
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from tests.conftest import FOR_OTHERS
from tests.support.authority import SERVER, Authority
from tests.support.issuer import Issuer
from tests.support.jwt_provider import malformed, rules

from jobworker.client import connect
from jobworker.config import BUILT_IN
from jobworker.errors import Unauthenticated
from jobworker.protocol import encode_bearer

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Upgrade


Start = Callable[..., "RunningAgent"]


def configuration(issuer: Issuer, **changed: Any) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in rules(issuer, **changed).items() if name != "roles"]
    return (
        '[limits]\nfailed_logins = 10000\n[auth]\nproviders = ["jwt", "token"]\n'
        f"[plugins]\nenabled = {['jwt', *BUILT_IN]}\n"
        "[[plugins.jwt.issuers]]\n" + "\n".join(lines) + f'\nroles = {{ops = ["writer"]}}\n{FOR_OTHERS}'
    )


@pytest.fixture(scope="module")
def served() -> Iterator[Issuer]:
    running = Issuer()
    running.add("one")
    running.add("rsa", "RS256")
    yield running
    running.close()


@pytest.fixture(scope="module")
def agent(start_agent: Start, served: Issuer) -> "RunningAgent":
    return start_agent(config=configuration(served))


async def test_a_token_at_the_door(agent: "RunningAgent", dial: "Dial", served: Issuer) -> None:
    """In the header, as a subprotocol and as the first message; the agent's own tokens are let in beside them."""
    end = int(time.time()) + 300
    token = served.token(exp=end)
    for how in ({"token": token}, {"token": None, "subprotocols": ["jobworker.v1", encode_bearer(token)]}):
        async with dial(agent, **how) as wire:
            who = await wire.ask("auth.whoami")
            assert (who["name"], who["provider"], who["issuer"]) == ("alice", "jwt", served.name)
            job = await wire.ask("job.create", spec={"shell": ":"})
            assert job["owner"] == f"{served.name}:alice"
    async with dial(agent, token=None) as wire:
        assert (await wire.ask("auth.login", token=token))["roles"] == ["writer"]
    async with dial(agent) as wire:
        assert (await wire.ask("auth.whoami"))["provider"] == "token"


async def test_an_expired_token_at_the_door(agent: "RunningAgent", dial: "Dial", served: Issuer) -> None:
    """40102, and 401 at the upgrade."""
    token = served.token(exp=int(time.time()) - 100)
    async with dial(agent, token=None) as wire:
        assert (await wire.refused("auth.login", token=token))["code"] == 40102
    with pytest.raises(Unauthenticated, match="expired at"):
        await connect(agent.address, token=token, ca=agent.ca).__aenter__()


async def test_malformed_tokens_at_the_door(
    agent: "RunningAgent", dial: "Dial", upgrade: "Upgrade", served: Issuer
) -> None:
    """Each is an answer, none a fault of the plugin, and the agent is the same."""
    for what, token in malformed(served).items():
        if len(token) < 6000 and token.isascii() and token.isprintable():
            assert (await upgrade(agent, ("Authorization", f"Bearer {token}")))[0] == 401, what
        elif len(token) < 8000:
            async with dial(agent, token=None) as wire:
                assert (await wire.refused("auth.login", token=token))["code"] == 40101, what
    async with dial(agent) as wire:
        plugins = (await wire.ask("agent.info"))["plugins"]
    state = next(each for each in plugins if each["name"] == "jwt")
    assert (state["faults"], state["blocked"]) == (0, False)
    assert "Traceback" not in agent.home.agent_log.read_text()


async def test_an_agent_starts_without_its_issuer(start_agent: Start, dial: "Dial", served: Issuer) -> None:
    """A token of the agent is accepted; for a token of the issuer the error is that its keys are not available."""
    gone = Issuer()
    gone.add("one")
    gone.close()
    agent = start_agent(config=configuration(gone))
    async with dial(agent) as wire:
        assert (await wire.ask("auth.whoami"))["provider"] == "token"
    with pytest.raises(Unauthenticated, match="are not available"):
        await connect(agent.address, token=gone.token(), ca=agent.ca).__aenter__()
    assert "the keys cannot be fetched" in agent.home.agent_log.read_text()


async def test_tls_of_the_issuer(
    start_agent: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dial: "Dial"
) -> None:
    """Keys come only from a server with a certificate of the system's CAs, or of those in SSL_CERT_FILE."""
    authority = Authority(tmp_path)
    local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    pair = authority.issue("issuer", names=[local], usage=[SERVER])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    issuer = Issuer(context)
    try:
        issuer.add("one")
        distrustful = start_agent(config=configuration(issuer))
        with pytest.raises(Unauthenticated, match="are not available"):
            await connect(distrustful.address, token=issuer.token(), ca=distrustful.ca).__aenter__()
        assert "CERTIFICATE_VERIFY_FAILED" in distrustful.home.agent_log.read_text()
        assert issuer.requests == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
        async with dial(start_agent(config=configuration(issuer)), token=issuer.token()) as wire:
            assert (await wire.ask("auth.whoami"))["name"] == "alice"
    finally:
        issuer.close()
