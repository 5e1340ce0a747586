"""Log pages in without their user's credentials: by a ticket, used once and soon, then by the secret of a session.

A caller that has logged in gets a ticket for a page of one origin. The page logs in with it and gets a secret of its
own, with which it logs in again after a lost connection or a restart of the agent. Both are worth what the caller's
credentials are worth: they end with them.
"""

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from jobworker.errors import RateLimited, StartError, Unauthenticated
from jobworker.interfaces import Credentials
from jobworker.model import Principal
from jobworker.private import require_private, write_private

log = logging.getLogger(__name__)

TICKET_SECONDS = 30.0  # from its creation to its use
MAX_TICKETS, MAX_TICKETS_OF_ONE = 1000, 50  # that are not used yet: of all principals, and of one
MAX_SESSIONS, MAX_SESSIONS_OF_ONE = 5000, 200  # beyond that the oldest ends
TICKET_PREFIX, SESSION_PREFIX = "jw1t_", "jw1s_"  # scanners for leaked secrets recognise them


class PageLogin(msgspec.Struct, frozen=True):
    """The caller that a page of this origin becomes; `proof` and `certificate` identify the caller's credentials."""

    principal: Principal
    origin: str
    proof: str = ""  # changes with the secret of a token
    certificate: bytes = b""  # in DER; empty without one


class PageSession(msgspec.Struct, frozen=True):
    """What is stored of a session of a page; `hash` is SHA-256 of its secret, which has 256 random bits."""

    hash: str
    login: PageLogin
    created_at: float  # as the next, in seconds since 1970
    expires_at: float

    @property
    def id(self) -> str:
        return self.hash[:12]


class Page(NamedTuple):
    """A page that has logged in: its caller, the id of its session, and its secret if the session has just begun."""

    principal: Principal
    session: str = ""
    secret: str = ""


class Ticket(msgspec.Struct, frozen=True):
    login: PageLogin
    expires: float  # on the monotonic clock


class PageLogins:
    """The tickets that are not used yet, in memory, and the sessions of pages, in a file that this agent replaces."""

    def __init__(
        self,
        path: Path,
        lifetime: float,
        proof: Callable[[Principal], str | None],
        is_revoked: Callable[[bytes], bool],
    ) -> None:
        """`lifetime` of a session is in seconds, 0: there are none.

        `proof` returns what identifies the credentials that a principal has now, None if it has none any more.
        `is_revoked` returns whether a client certificate is revoked.
        """
        self._path = path
        self._lifetime = lifetime
        self._proof = proof
        self._is_revoked = is_revoked
        # By the hash of their codes, the oldest first; they are lost with the agent, which is 30 s of work.
        self._tickets: dict[str, Ticket] = {}
        # By the hash of their secrets, the oldest first.
        self._sessions = {session.hash: session for session in self._read()}

    # Tickets

    def create_ticket(self, principal: Principal, origin: str, certificate: bytes) -> str:
        """Return a ticket with which one page of this origin becomes the principal; raise RateLimited."""
        now = time.monotonic()
        self._tickets = {key: ticket for key, ticket in self._tickets.items() if ticket.expires > now}
        own = sum(ticket.login.principal.id == principal.id for ticket in self._tickets.values())
        if own >= MAX_TICKETS_OF_ONE or len(self._tickets) >= MAX_TICKETS:
            raise RateLimited("too many tickets that are not used yet", retry_after=TICKET_SECONDS)
        code = TICKET_PREFIX + secrets.token_urlsafe(32)
        login = PageLogin(principal, origin, self._proof(principal) or "", certificate)
        self._tickets[_hash(code)] = Ticket(login, now + TICKET_SECONDS)
        return code

    def log_in(self, credentials: Credentials, origin: str) -> Page:
        """Return what a page of this origin becomes by a `ticket` or a `session`; raise Unauthenticated."""
        if credentials.scheme == "session":
            session = self._resume(credentials.token, origin)
            return Page(_until(session), session.id)
        login = self._use_ticket(credentials.token, origin)
        if not self._lifetime:
            return Page(login.principal)
        secret, session = self._begin(login)
        return Page(_until(session), session.id, secret)

    def _use_ticket(self, code: str, origin: str) -> PageLogin:
        """Return the login of a ticket, which ends, whatever comes of it."""
        ticket = self._tickets.pop(_hash(code), None)
        if ticket is None or ticket.expires <= time.monotonic():
            raise Unauthenticated(
                f"the ticket is not known: it was used, or is older than {TICKET_SECONDS:g} s; expected a new one",
                hint="open the page again with `jw open`",
            )
        return self._checked(ticket.login, origin)

    # Sessions

    def _begin(self, login: PageLogin) -> tuple[str, PageSession]:
        """Begin the session of a page that has used a ticket; return its secret with it."""
        secret, now = SESSION_PREFIX + secrets.token_urlsafe(32), time.time()
        end = min(now + self._lifetime, login.principal.expires_at or now + self._lifetime)
        session = PageSession(_hash(secret), login, now, end)
        self._sessions[session.hash] = session
        self._drop_oldest(login.principal)
        self._write()
        return secret, session

    def _resume(self, secret: str, origin: str) -> PageSession:
        session = self._sessions.get(_hash(secret))
        if session is None or session.expires_at <= time.time():
            raise Unauthenticated("the session of this page has ended", hint="open the page again with `jw open`")
        self._checked(session.login, origin)
        return session

    def recognizes(self, code: str) -> bool:
        """Whether a ticket or a secret is known; this costs a hash and no more."""
        return _hash(code) in self._tickets or _hash(code) in self._sessions

    def end(self, id: str) -> bool:  # noqa: A002
        """End the session with an id; return whether there was one."""
        return self._end(lambda login, found: found == id)

    def end_of(self, principal: str) -> bool:
        """End all sessions and tickets of the principal with this id; return whether there were any."""
        return self._end(lambda login, found: login.principal.id == principal)

    def revoke(self, provider: str, name: str) -> None:
        """End all sessions and tickets of principals whose credentials were revoked."""
        self._end(lambda login, found: (login.principal.provider, login.principal.name) == (provider, name))

    def _end(self, ends: Callable[[PageLogin, str], bool]) -> bool:
        tickets = {key: ticket for key, ticket in self._tickets.items() if not ends(ticket.login, "")}
        sessions = {key: each for key, each in self._sessions.items() if not ends(each.login, each.id)}
        ended = len(tickets) < len(self._tickets) or len(sessions) < len(self._sessions)
        changed, self._tickets, self._sessions = len(sessions) < len(self._sessions), tickets, sessions
        if changed:
            self._write()
        return ended

    def _checked(self, login: PageLogin, origin: str) -> PageLogin:
        """Return the login if it is for pages of this origin and its credentials are still valid."""
        if not hmac.compare_digest(login.origin.encode(), origin.encode()):
            raise Unauthenticated(f"it is for a page of {login.origin}, and this one is of {origin[:200] or 'none'}")
        proof = self._proof(login.principal)
        over = login.principal.expires_at is not None and login.principal.expires_at <= time.time()
        if proof is None or proof != login.proof or over:
            raise Unauthenticated("the credentials with which the page was opened are no longer valid")
        if login.certificate and self._is_revoked(login.certificate):
            raise Unauthenticated("the client certificate with which the page was opened is revoked")
        return login

    def _drop_oldest(self, principal: Principal) -> None:
        now = time.time()
        self._sessions = {key: each for key, each in self._sessions.items() if each.expires_at > now}
        own = [key for key, each in self._sessions.items() if each.login.principal.id == principal.id]
        for key in own[:-MAX_SESSIONS_OF_ONE]:
            del self._sessions[key]
        while len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]

    def _read(self) -> list[PageSession]:
        """Return the sessions in the file; one that cannot be used counts as empty: pages are opened again."""
        try:
            require_private(self._path)
            return msgspec.json.decode(self._path.read_bytes(), type=list[PageSession])
        except FileNotFoundError:
            return []
        except (StartError, OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s: the sessions of pages cannot be read and have ended: %s", self._path, error)
            return []

    def _write(self) -> None:
        """Write the sessions. If the disk takes none, they end with this agent; none that ended comes back."""
        try:
            write_private(self._path, msgspec.json.encode([*self._sessions.values()]))
        except (StartError, OSError) as error:
            log.warning("%s cannot be written; sessions of pages end with this agent: %s", self._path, error)
            self._path.unlink(missing_ok=True)


def _until(session: PageSession) -> Principal:
    """Return the principal of a page, whose connections end with its session."""
    return replace(session.login.principal, expires_at=session.expires_at)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
