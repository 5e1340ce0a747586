"""An issuer that really serves its keys, and the clock on which they age."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.issuer import MAKE, Issuer
from tests.support.jwt_provider import Clock

from jobworker_plugins import jwks


@pytest.fixture(scope="session")
def rsa_key() -> Any:
    """A key for many tests, as it takes longer to make than most of them."""
    return MAKE["RS256"]()


@pytest.fixture
def issuer(rsa_key: Any) -> Iterator[Issuer]:
    """An issuer with a key of each kind."""
    running = Issuer()
    for kid, algorithm, key in (("one", "ES256", None), ("rsa", "RS256", rsa_key), ("ed", "EdDSA", None)):
        running.add(kid, algorithm, key)
    yield running
    running.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(jwks, "now", clock)
    return clock
