"""Tickets and sessions of pages: their ends, and a file that cannot be used."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobworker.auth.page_logins import TICKET_SECONDS, PageLogins
from jobworker.errors import Unauthenticated
from jobworker.interfaces import Credentials
from jobworker.model import Principal

ANN = Principal("ann", "token", ["reader"])
PAGE = "https://localhost:7443"


class Host:
    """What the logins ask: the credentials that a principal has, and whether a certificate is revoked."""

    def __init__(self, path: Path) -> None:
        self.path = path / "page-sessions.json"
        self.proof: str | None = "secret 1"
        self.revoked = False

    def logins(self, lifetime: float = 3600) -> PageLogins:
        return PageLogins(self.path, lifetime, lambda principal: self.proof, lambda certificate: self.revoked)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def by(scheme: str, code: str) -> Credentials:
    return Credentials(scheme, token=code, address="127.0.0.1:1")


def begin(logins: PageLogins, principal: Principal = ANN, certificate: bytes = b"") -> str:
    """Return the secret of a new session."""
    return logins.log_in(by("ticket", logins.create_ticket(principal, PAGE, certificate)), PAGE).secret


def shift(monkeypatch: pytest.MonkeyPatch, clock: str, seconds: float) -> None:
    real: Callable[[], float] = getattr(time, clock)
    monkeypatch.setattr(time, clock, lambda: real() + seconds)


def test_a_ticket_ends_soon(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    logins = host.logins()
    code = logins.create_ticket(ANN, PAGE, b"")
    shift(monkeypatch, "monotonic", TICKET_SECONDS)
    with pytest.raises(Unauthenticated, match="older than 30 s"):
        logins.log_in(by("ticket", code), PAGE)


def test_a_session_ends(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is over, also after a restart, and no later than the credentials with which it was opened."""
    secret = begin(host.logins())
    short = begin(host.logins(), Principal("ann", "token", ["reader"], expires_at=time.time() + 60))
    for logins in (host.logins(), host.logins()):
        assert logins.log_in(by("session", short), PAGE).principal.expires_at < time.time() + 61  # type: ignore[operator]
    shift(monkeypatch, "time", 61)
    assert host.logins().log_in(by("session", secret), PAGE).principal.name == "ann"
    with pytest.raises(Unauthenticated):
        host.logins().log_in(by("session", short), PAGE)
    shift(monkeypatch, "time", 3600)
    with pytest.raises(Unauthenticated, match="has ended"):
        host.logins().log_in(by("session", secret), PAGE)


@pytest.mark.parametrize("proof", ["secret 2", None])
def test_the_credentials_have_changed(host: Host, proof: str | None) -> None:
    """While the agent was down, too: the secret of a token is another, or the principal has none any more."""
    logins = host.logins()
    secret, code = begin(logins), logins.create_ticket(ANN, PAGE, b"")
    host.proof = proof
    for used, scheme in ((secret, "session"), (code, "ticket")):
        with pytest.raises(Unauthenticated, match="no longer valid"):
            logins.log_in(by(scheme, used), PAGE)
    with pytest.raises(Unauthenticated, match="no longer valid"):
        host.logins().log_in(by("session", secret), PAGE)


def test_the_certificate_was_revoked(host: Host) -> None:
    with_certificate, without = begin(host.logins(), certificate=b"der"), begin(host.logins())
    host.revoked = True
    logins = host.logins()
    with pytest.raises(Unauthenticated, match="certificate"):
        logins.log_in(by("session", with_certificate), PAGE)
    assert logins.log_in(by("session", without), PAGE).principal.name == "ann"


def test_sessions_are_bounded(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest of the same principal ends, and that of another stays."""
    monkeypatch.setattr("jobworker.auth.page_logins.MAX_SESSIONS_OF_ONE", 3)
    logins = host.logins()
    other = begin(logins, Principal("bob", "token", ["reader"]))
    secrets = [begin(logins) for _ in range(4)]
    with pytest.raises(Unauthenticated):
        logins.log_in(by("session", secrets[0]), PAGE)
    for secret in (secrets[1], secrets[-1], other):
        assert logins.log_in(by("session", secret), PAGE).session


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'[{"hash": 1}]'])
def test_a_file_that_is_none(host: Host, content: bytes) -> None:
    """The agent starts: pages are opened again."""
    host.path.write_bytes(content)
    host.path.chmod(0o600)
    logins = host.logins()
    assert logins.log_in(by("session", begin(logins)), PAGE).principal.name == "ann"


def test_a_link_in_place_of_the_file_is_not_followed(host: Host) -> None:
    secret = begin(host.logins())
    target = host.path.with_name("elsewhere")
    host.path.rename(target)
    host.path.symlink_to(target)
    with pytest.raises(Unauthenticated):
        host.logins().log_in(by("session", secret), PAGE)


def test_a_disk_that_takes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions work until the agent ends; one that has ended does not come back with the next agent."""
    logins = host.logins()
    secret = begin(logins)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jobworker.auth.page_logins.write_private", full)
    second = begin(logins)
    assert logins.log_in(by("session", second), PAGE).session
    assert logins.end(logins.log_in(by("session", secret), PAGE).session)
    with pytest.raises(Unauthenticated):
        host.logins().log_in(by("session", secret), PAGE)
