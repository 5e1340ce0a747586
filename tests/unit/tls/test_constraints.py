"""Name constraints: what a CA signs beyond its names, no client accepts, whoever has its key."""

import ssl
from pathlib import Path

import pytest
from tests.support.handshake import shake_hands

from jobworker.errors import StartError
from jobworker.tls import certificates, constraints
from jobworker.tls.certificates import CLIENT, SERVER, Authority
from jobworker.untrusted import explain_refusal

NAMES = ["agent.example.org", "192.0.2.1", "localhost"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    certificates.make_all(tmp_path / "tls", NAMES)
    return tmp_path / "tls"


def signed(authority: Authority, names: list[str], out: Path) -> tuple[Path, Path]:
    """Return a certificate that the CA signs without asking whether it may, as whoever has its key can."""
    free = Authority._made(authority.key, authority.certificate.subject, [])  # type: ignore[arg-type]
    return certificates.issue(free, names[0], names[1:], SERVER, None, [], out)


@pytest.mark.parametrize("name", ["bank.example.com", "example.org", "192.0.2.2", "2001:db8::1"])
def test_a_name_beyond(folder: Path, tmp_path: Path, name: str) -> None:
    """The CA does not sign for it; clients that trust the CA refuse a certificate that is signed all the same."""
    authority = Authority.load(folder)
    with pytest.raises(StartError, match="this CA signs servers of these names"):
        certificates.issue(authority, name, [], SERVER, None, [], tmp_path / "out")
    cert, key = signed(authority, [name], tmp_path / "out")
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation") as refused:
        shake_hands(ssl.create_default_context(cafile=folder / "ca.pem"), cert, key, name)
    explained = explain_refusal(refused.value, folder / "ca.pem")
    assert explained is not None
    assert "may not sign" in explained[0]


@pytest.mark.parametrize(
    "name", ["agent.example.org", "web.agent.example.org", "*.agent.example.org", "127.0.0.1", "192.0.2.1"]
)
def test_a_name_within(folder: Path, tmp_path: Path, name: str) -> None:
    """Also one below, and what every CA has; each passes the stricter checks of Python 3.13."""
    cert, key = certificates.issue(
        Authority.load(folder), name.strip("*."), [name], SERVER, None, [], tmp_path / "out"
    )
    client = ssl.create_default_context(cafile=folder / "ca.pem")
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    shake_hands(client, cert, key, name.replace("*", "any"))


def test_a_name_that_is_added(folder: Path, tmp_path: Path) -> None:
    """The CA is made again with its key: with the new `ca.pem` a client accepts what was signed before and after."""
    old = tmp_path / "old"
    certificates.issue(Authority.load(folder), "localhost", [], SERVER, None, [], old)
    certificates.renew(folder, ["new.example.com"])
    client = ssl.create_default_context(cafile=folder / "ca.pem")
    for name in (*NAMES, "new.example.com"):
        shake_hands(client, folder / "server.pem", folder / "server.key", name)
    shake_hands(client, old / "localhost.pem", old / "localhost.key")
    certificates.renew(folder)
    assert certificates.describe(certificates.load(folder / "server.pem")[0])["names"] == [*NAMES, "new.example.com"]


@pytest.mark.parametrize("name", ["alice", "alice.smith", "ops@example.org", "10.0.0.7", "a:b@example.org"])
def test_a_client_is_no_host(folder: Path, tmp_path: Path, name: str) -> None:
    """It may have any name: an agent that trusts the CA for clients accepts its certificate."""
    cert, key = certificates.issue(Authority.load(folder), name, [], CLIENT, None, [], tmp_path / "out")
    client = ssl.create_default_context(cafile=folder / "ca.pem")
    client.load_cert_chain(cert, key)
    shake_hands(client, folder / "server.pem", folder / "server.key", ca=folder / "ca.pem")


def test_a_ca_without_constraints_stays_so(tmp_path: Path) -> None:
    """One that an earlier version made: clients have copies of it, which must stay good for names that are added."""
    authority = Authority.new([])
    earlier = Authority._made(authority.key, authority.certificate.subject, [])  # type: ignore[arg-type]
    folder = tmp_path / "tls"
    folder.mkdir(mode=0o700)
    for name, data in (earlier.files() | earlier.server(NAMES)).items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    certificates.renew(folder, ["new.example.com"])
    assert (folder / "ca.pem").read_bytes() == earlier.files()["ca.pem"]
    assert constraints.permitted(earlier.made_again().certificate) == []
