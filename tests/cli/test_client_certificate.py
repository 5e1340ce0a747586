"""`jw` shows a client certificate to an agent that asks for one."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import FOR_OTHERS, RunningAgent
from tests.support.authority import Authority, Pair

from jobworker.config import BUILT_IN
from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.cli.conftest import Jw


@pytest.fixture(scope="module")
def remote(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """An agent that knows people by their certificates."""
    config = (
        f'[server]\nclient_ca = "{authority.ca}"\n[auth]\nproviders = ["mtls", "token"]\n[plugins]\n'
        f"enabled = {[*BUILT_IN, 'mtls']}\n[plugins.mtls]\nroles = {{alice = ['writer']}}\n"
        f"{FOR_OTHERS}"
    )
    running = RunningAgent(Home(tmp_path_factory.mktemp("remote") / "home"), config)
    running.start()
    yield running
    asyncio.run(running.clean())


@pytest.fixture
def reached(remote: RunningAgent, monkeypatch: pytest.MonkeyPatch) -> RunningAgent:
    monkeypatch.setenv("JW_ADDRESS", remote.address)
    monkeypatch.setenv("JW_CA", str(remote.ca))
    return remote


@pytest.fixture
def alice(authority: Authority) -> Pair:
    return authority.issue("alice")


@pytest.mark.usefixtures("reached")
def test_a_certificate_in_place_of_a_token(jw: "Jw", alice: Pair, tmp_path: Path) -> None:
    """By flags, by the environment, or as one file: the name in the certificate owns the job."""
    done = jw("--cert", str(alice.cert), "--key", str(alice.key), "run", "--name", "hers", "--", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, "hello\n"), done
    env = {"JW_CERT": str(alice.cert), "JW_KEY": str(alice.key)}
    assert json.loads(jw("status", "hers", "--json", **env).stdout)["owner"] == "mtls:alice"
    one = tmp_path / "both.pem"
    one.write_bytes(alice.cert.read_bytes() + alice.key.read_bytes())
    assert "hers" in jw("ps", "-a", JW_CERT=str(one)).stdout


@pytest.mark.usefixtures("reached")
def test_files_that_cannot_be_used(jw: "Jw", alice: Pair, authority: Authority, tmp_path: Path) -> None:
    """The message names them; a key without a certificate is a wrong command line."""
    missing = jw("ps", JW_CERT=str(tmp_path / "missing.pem"))
    assert missing.returncode == 6
    assert f"{tmp_path / 'missing.pem'} cannot be used" in missing.stderr
    mixed = jw("ps", JW_CERT=str(alice.cert), JW_KEY=str(authority.issue("alice").key))
    assert mixed.returncode == 6
    assert "the key is not that of the certificate" in mixed.stderr
    lonely = jw("--key", str(alice.key), "ps")
    assert lonely.returncode == 2
    assert "expected --cert or JW_CERT" in lonely.stderr


@pytest.mark.usefixtures("reached")
def test_a_certificate_that_is_not_taken(jw: "Jw", authority: Authority, tmp_path: Path) -> None:
    """One without a role is refused with a message; a foreign one fails in TLS, and the hint names the log."""
    bob = authority.issue("bob")
    refused = jw("ps", JW_CERT=str(bob.cert), JW_KEY=str(bob.key))
    assert refused.returncode == 4
    assert "no rule gives it a role" in refused.stderr
    assert "token" not in refused.stderr
    foreign = Authority(tmp_path).issue("alice")
    failed = jw("ps", JW_CERT=str(foreign.cert), JW_KEY=str(foreign.key))
    assert failed.returncode == 6
    assert "hint: does the agent trust the CA of the client certificate?" in failed.stderr
