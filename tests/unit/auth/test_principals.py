"""The ids of principals: what two of them have in common is nothing."""

import asyncio

import pytest

from jobworker.auth.authentication import Authenticator
from jobworker.errors import Unauthenticated
from jobworker.interfaces import Credentials
from jobworker.model import Principal
from jobworker.plugin.host import PluginHost


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Principal("8443:bob", "jwt", issuer="https://idp"), Principal("bob", "jwt", issuer="https://idp:8443")),
        (Principal("a%3Ab", "jwt", issuer="https://idp"), Principal("a:b", "jwt", issuer="https://idp")),
        (Principal("ci", "token"), Principal("ci", "token", subject="2")),
    ],
)
def test_two_principals(one: Principal, other: Principal) -> None:
    """They read alike, and are not the same."""
    assert one.id != other.id


def test_usual_ids() -> None:
    """They are as a person writes them."""
    assert Principal("ann", "token").id == "token:ann"
    assert Principal("spiffe://org/web", "mtls").id == "mtls:spiffe://org/web"
    assert Principal("bob", "jwt", issuer="https://idp").id == "https://idp:bob"


class Provider:
    def __init__(self, name: str, issuer: str = "") -> None:
        self.name = name
        self._issuer = issuer

    async def authenticate(self, credentials: Credentials) -> Principal:
        return Principal("ann", self.name, issuer=self._issuer)


@pytest.mark.parametrize("issuer", ["token", "token:x", "unix", "unix:y"])
def test_an_issuer_that_reads_like_a_provider(issuer: str) -> None:
    """`token:x` with the name `ann` would be the token `x:ann`: it is refused."""
    host = PluginHost(5.0)
    forger, token = Provider("jwt", issuer), Provider("token")
    for provider in (forger, token):
        host.own(provider, provider.name)
    try:
        with pytest.raises(Unauthenticated):
            asyncio.run(Authenticator([forger, token], host).authenticate(Credentials("bearer", token="x")))
        assert asyncio.run(Authenticator([token], host).authenticate(Credentials("bearer", token="x"))).id
    finally:
        host.close()
