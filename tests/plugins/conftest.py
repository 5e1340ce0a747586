"""An issuer that really serves its keys, and the clock on which they age."""

from collections.abc import Iterator

import pytest
from tests.support.issuer import Issuer
from tests.support.jwt_provider import Clock

from jobworker_plugins import jwks


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer with a key of each kind."""
    running = Issuer()
    for kid, algorithm in (("one", "ES256"), ("rsa", "RS256"), ("ed", "EdDSA")):
        running.add(kid, algorithm)
    yield running
    running.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(jwks, "now", clock)
    return clock
