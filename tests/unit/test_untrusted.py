"""Certificates that Python 3.13 and later refuse and earlier versions do not: which one, and what it lacks."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from tests.support.authority import SERVER, Authority, Pair
from tests.support.handshake import shake_hands

from jobworker.tls import certificates
from jobworker.untrusted import CheckedObject, explain_refusal, faults

LOCAL = [x509.DNSName("localhost")]


def strict(ca: Path) -> ssl.SSLContext:
    """Return a client's context as Python 3.13 makes it."""
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.sslobject_class = CheckedObject
    return context


def refused(ca: Path, pair: Pair) -> ssl.SSLCertVerificationError:
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake_hands(strict(ca), pair.cert, pair.key)
    caught.value.shown = [ssl.PEM_cert_to_DER_cert(pair.cert.read_text())]  # type: ignore[attr-defined]  # before 3.13
    return caught.value


@pytest.mark.parametrize(
    ("without", "where", "what", "remedy"),
    [
        ("keys", "CN=server that the server sent", "no Authority Key Identifier", "authorityKeyIdentifier = keyid"),
        ("usage", "CN=Ours in {ca}", "no Key Usage", "keyUsage = critical, keyCertSign"),
        ("subject_key", "CN=Ours in {ca}", "no Subject Key Identifier", "subjectKeyIdentifier = hash"),
        ("critical", "CN=Ours in {ca}", "Basic Constraints that are not critical", "basicConstraints = critical"),
        ("subject", "without a subject that the server sent", "no subject, and names", "subjectAltName = critical"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, without: str, where: str, what: str, remedy: str) -> None:
    """The sentence has the certificate, its place, what it lacks; the hint how to add it. `lacks` has the same."""
    authority = Authority(tmp_path, "Ours", without=without)
    pair = authority.issue(*([] if without == "subject" else ["server"]), names=LOCAL, usage=[SERVER])
    explained = explain_refusal(refused(authority.ca, pair), authority.ca)
    assert explained is not None
    sentence, hint = explained
    assert sentence.startswith(f"the certificate {where.format(ca=authority.ca)} has {what}")
    assert remedy in hint
    found = [certificates.describe(certificates.load(path)[0])["lacks"] for path in (authority.ca, pair.cert)]
    assert [[what in each for each in one] for one in found] == ([[True], []] if "{ca}" in where else [[], [True]])


def test_a_certificate_that_cannot_be_found(tmp_path: Path) -> None:
    """Without the chain, or with a file that cannot be read, the sentence still has what is missing."""
    authority = Authority(tmp_path, "Ours", without="keys")
    error = refused(authority.ca, authority.issue("server", names=LOCAL, usage=[SERVER]))
    error.shown = []  # type: ignore[attr-defined]
    for ca in (None, authority.ca, tmp_path / "missing"):
        explained = explain_refusal(error, ca)
        assert explained is not None
        assert explained[0].startswith("a certificate of its chain has no Authority Key Identifier")


def test_other_refusals_are_not_explained(tmp_path: Path) -> None:
    """Another CA, another name: the message of OpenSSL is enough."""
    authority, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    assert explain_refusal(refused(other.ca, authority.issue("server", names=LOCAL, usage=[SERVER]))) is None
    assert explain_refusal(refused(authority.ca, authority.issue("server", usage=[SERVER]))) is None


def test_our_own_certificates_lack_nothing(tmp_path: Path) -> None:
    """The CA, the agent's certificate, and what `jw cert issue` makes pass the stricter checks."""
    certificates.make_all(tmp_path, ["localhost"])
    authority = certificates.Authority.load(tmp_path)
    issued = certificates.issue(authority, "localhost", [], certificates.SERVER, None, [], tmp_path / "issued")
    certificates.issue(authority, "alice", [], certificates.CLIENT, None, ["writer"], tmp_path / "issued")
    for cert, key in ((tmp_path / "server.pem", tmp_path / "server.key"), issued):
        shake_hands(strict(tmp_path / "ca.pem"), cert, key)
    for path in tmp_path.rglob("*.pem"):
        assert [faults(certificate) for certificate in certificates.load(path) if faults(certificate)] == []
