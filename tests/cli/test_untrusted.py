"""An agent with a certificate of one's own CA that Python 3.13 and later refuse."""

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tests.conftest import RunningAgent
from tests.support.authority import SERVER, Authority

from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

pytestmark = pytest.mark.skipif(sys.version_info < (3, 13), reason="earlier versions of Python take the certificate")
Start = Callable[[str], tuple[RunningAgent, Authority]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[RunningAgent] = []

    def start(without: str) -> tuple[RunningAgent, Authority]:
        authority = Authority(tmp_path / "authority", "Ours", without=without)
        pair = authority.issue("server", names=[x509.DNSName("localhost")], usage=[SERVER])
        agent = RunningAgent(Home(tmp_path / "own"), f'[server]\ncert = "{pair.cert}"\nkey = "{pair.key}"\n')
        running.append(agent)
        agent.start()
        return agent, authority

    yield start
    for agent in running:
        agent.end()
        agent.config = ""  # with a certificate of its own it can be reached
        asyncio.run(agent.clean())


@pytest.mark.parametrize(
    ("without", "which"),
    [
        ("keys", "the certificate CN=server that the server sent has no Authority Key Identifier"),
        ("usage", "the certificate CN=Ours in {ca} has no Key Usage"),
    ],
)
def test_jw_names_the_certificate_and_what_it_lacks(
    jw: "Jw", start: Start, tmp_path: Path, without: str, which: str
) -> None:
    """And how to add it; a pin is as good as ever."""
    agent, authority = start(without)
    address = agent.address.replace("127.0.0.1", "localhost")
    done = jw("--address", address, "--ca", str(authority.ca), "--token", "x", "ps")
    assert done.returncode == 6, done
    assert f"is not trusted: {which.format(ca=authority.ca)}" in done.stderr
    assert re.search("hint: .*(authorityKeyIdentifier|keyUsage) = ", done.stderr)
    certificate = x509.load_pem_x509_certificate((tmp_path / "authority" / "client1.pem").read_bytes())
    pin = f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"
    assert jw("--address", address, "--pin", pin, "--token", agent.token, "ps").returncode == 0
