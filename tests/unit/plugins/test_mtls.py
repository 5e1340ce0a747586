"""The provider mtls by itself: which name and which roles a certificate has."""

import base64
import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.support.authority import NOW, Authority, Pair

from jobworker.errors import TokenExpired, Unauthenticated
from jobworker.interfaces import Credentials
from jobworker.testing import load
from jobworker_plugins import mtls


def provider(tmp_path: Path, **settings: Any) -> Any:
    return load(mtls, settings, state=tmp_path).auth_providers["mtls"]


def presented(pair: Pair) -> Credentials:
    return Credentials("certificate", certificate=ssl.PEM_cert_to_DER_cert(pair.cert.read_text()))


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("cn", [x509.DNSName("a.example")], "alice"),
        ("dns", [x509.RFC822Name("a@example.org"), x509.DNSName("a.example")], "a.example"),
        ("email", [x509.DNSName("a.example"), x509.RFC822Name("a@example.org")], "a@example.org"),
        ("uri", [x509.UniformResourceIdentifier("spiffe://x/ns/a"), x509.DNSName("a")], "spiffe://x/ns/a"),
        ("dns", [], None),
        ("dns", [x509.DNSName("a.example"), x509.DNSName("b.example")], None),
        ("uri", [x509.DNSName("a.example")], None),
    ],
    ids=str,
)
async def test_the_part_that_is_the_name(
    authority: Authority, tmp_path: Path, kind: str, names: list[x509.GeneralName], expected: str | None
) -> None:
    """`name_from` selects the part that is the name; the certificate must have it exactly once."""
    known = provider(tmp_path, name_from=kind, roles={"*": ["reader"]})
    pair = authority.issue("alice", names=names)
    if expected is None:
        with pytest.raises(Unauthenticated, match=f"of the kind '{kind}'; expected exactly one"):
            await known.authenticate(presented(pair))
    else:
        assert (await known.authenticate(presented(pair))).name == expected


async def test_the_parts_that_are_roles(authority: Authority, tmp_path: Path) -> None:
    """All patterns that match the name count, and with `roles_from` the organizational units."""
    rules = {"*": ["reader"], "a*": ["writer", "reader"], "b*": ["admin"]}
    pair = authority.issue("alice", ou=["auditor", "writer"])
    assert (await provider(tmp_path, roles=rules).authenticate(presented(pair))).roles == ["reader", "writer"]
    both = provider(tmp_path, roles={"alice": ["reader"]}, roles_from="ou")
    assert (await both.authenticate(presented(pair))).roles == ["reader", "auditor", "writer"]
    units = provider(tmp_path, roles_from="ou")
    assert (await units.authenticate(presented(pair))).roles == ["auditor", "writer"]
    with pytest.raises(Unauthenticated, match="no rule gives it a role"):
        await units.authenticate(presented(authority.issue("alice")))


async def test_one_that_ended_since_its_session_began(authority: Authority, tmp_path: Path) -> None:
    """TLS does not verify a resumed session again: the provider does."""
    over = authority.issue("alice", ends=NOW - datetime.timedelta(seconds=1))
    with pytest.raises(TokenExpired, match="expired at"):
        await provider(tmp_path, roles={"*": ["reader"]}).authenticate(presented(over))


async def test_what_is_no_certificate(tmp_path: Path) -> None:
    """Other credentials are another provider's; garbage is refused, without a fault."""
    known = provider(tmp_path, roles={"*": ["reader"]})
    assert await known.authenticate(Credentials("bearer", token="alice")) is None
    for garbage in (b"", b"x", base64.b64decode("MIIB"), bytes(2000)):
        with pytest.raises(Unauthenticated, match="cannot be read"):
            await known.authenticate(Credentials("certificate", certificate=garbage))
