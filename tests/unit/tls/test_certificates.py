"""Certificates: what is in those that are made, and how they are replaced."""

import datetime
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from jobworker.errors import StartError
from jobworker.tls import certificates
from jobworker.tls.certificates import CLIENT, SERVER, Authority
from jobworker.tls.context import Mismatch, Tls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    certificates.make_all(tmp_path / "tls", ["agent.example.org", "192.0.2.1", "localhost"])
    return tmp_path / "tls"


def first(path: Path) -> x509.Certificate:
    return certificates.load(path)[0]


def tls(folder: Path) -> Tls:
    return Tls(folder / "server.pem", folder / "server.key", None)


def test_a_ca_signs_leaves_only(folder: Path) -> None:
    """It lives ten years, signs certificates and nothing else, and may have no CA below it."""
    told = certificates.describe(first(folder / "ca.pem"))
    assert (told["ca"], told["path_length"]) == (True, 0)
    assert told["key_usage"] == ["key_cert_sign", "crl_sign"]
    assert told["days_left"] in (3649, 3650)


@pytest.mark.parametrize(
    ("purpose", "use", "days"),
    [(CLIENT, ExtendedKeyUsageOID.CLIENT_AUTH, 90), (SERVER, ExtendedKeyUsageOID.SERVER_AUTH, 397)],
    ids=["client", "server"],
)
def test_a_certificate_is_for_one_use(
    folder: Path, tmp_path: Path, purpose: certificates.Purpose, use: x509.ObjectIdentifier, days: int
) -> None:
    """It has names, a random serial, one extended use, a bounded life, and can sign nothing."""
    authority = Authority.load(folder)
    names = ("a.localhost", "b.localhost") if purpose is SERVER else ("a", "b")
    made = [certificates.issue(authority, name, ["::1"], purpose, None, ["writer"], tmp_path) for name in names]
    for cert, key in made:
        assert stat.S_IMODE(cert.stat().st_mode) == stat.S_IMODE(key.stat().st_mode) == 0o600
        certificate = first(cert)
        assert [*certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value] == [use]
        told = certificates.describe(certificate)
        name = cert.stem if purpose is SERVER else f"{cert.stem}.invalid"  # a client is no host
        assert (told["subject"], told["names"]) == (f"OU=writer,CN={cert.stem}", [name, "::1"])
        assert (told["ca"], told["key_usage"]) == (False, ["digital_signature"])
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert life == datetime.timedelta(days=days)
        assert authority.issued(certificate)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key)
    assert first(made[0][0]).serial_number != first(made[1][0]).serial_number


def test_no_certificate_outlives_its_ca(folder: Path, tmp_path: Path) -> None:
    authority = Authority.load(folder)
    cert, _ = certificates.issue(authority, "a", [], CLIENT, 10 * 3650, [], tmp_path)
    assert first(cert).not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_renew_keeps_names_and_ca(folder: Path) -> None:
    """New key, new certificate, the same names and the missing ones; clients that trust the CA trust it."""
    ca, old = (folder / "ca.pem").read_bytes(), first(folder / "server.pem")
    certificates.renew(folder, ["localhost", "new.agent.example.org"])
    new = first(folder / "server.pem")
    names = ["agent.example.org", "192.0.2.1", "localhost", "new.agent.example.org"]
    assert certificates.describe(new)["names"] == names
    assert (folder / "ca.pem").read_bytes() == ca
    assert Authority.load(folder).issued(new)
    assert new.public_key() != old.public_key()
    assert tls(folder).certificate.fingerprint == certificates.describe(new)["fingerprint"]
    certificates.renew_ca(folder)
    assert (folder / "ca.pem").read_bytes() != ca
    assert Authority.load(folder).issued(first(folder / "server.pem"))
    assert tls(folder).certificate.names == [*certificates.describe(new)["names"]]


def test_a_certificate_of_another_ca_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    certificates.make_all(tmp_path / "other", ["other.example.org"])
    for name in ("server.pem", "server.key"):
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    before = (folder / "server.pem").read_bytes()
    with pytest.raises(StartError, match="was not signed by the CA"):
        certificates.renew(folder)
    assert (folder / "server.pem").read_bytes() == before


@pytest.mark.parametrize("fault", ["missing", "foreign", "open", "text"])
def test_a_ca_key_that_cannot_be_used(folder: Path, tmp_path: Path, fault: str) -> None:
    """It is named, and nothing is replaced."""
    before = (folder / "server.pem").read_bytes()
    key = folder / "ca.key"
    if fault == "missing":
        key.unlink()
    elif fault == "open":
        key.chmod(0o644)
    else:
        key.write_bytes(b"x" if fault == "text" else (folder / "server.key").read_bytes())
    with pytest.raises(StartError, match=r"ca\.key"):
        certificates.renew(folder)
    assert (folder / "server.pem").read_bytes() == before


def test_renewals_at_once_leave_one_pair(folder: Path) -> None:
    """Key and certificate are of the same renewal, however many run."""
    threads = [threading.Thread(target=certificates.renew, args=[folder]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert tls(folder).certificate.left > 0


def test_a_pair_that_does_not_match_has_its_own_error(folder: Path) -> None:
    """So that the agent can wait for the other file, or renew its own pair."""
    (folder / "server.key").write_bytes((folder / "ca.key").read_bytes())
    with pytest.raises(Mismatch, match="not a certificate and its key"):
        tls(folder)
