"""`auth.*` and `token.*`: log in, show the caller, manage the tokens of the agent."""

import time
from functools import partial

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from jobworker.auth.access import Requires
from jobworker.auth.page_logins import TICKET_SECONDS
from jobworker.errors import InvalidParams, InvalidRequest, InvalidSpec
from jobworker.interfaces import Credentials
from jobworker.protocol import PATH
from jobworker.results import Caller, CallerGrant, NewToken, RenewedToken, Ticket, Token, Tokens
from jobworker.server.dispatch import REQUIRES, Call, method
from jobworker.units import Duration, rfc3339, seconds


class Login(msgspec.Struct, forbid_unknown_fields=True):
    token: str | None = None
    username: str | None = None
    password: str | None = None
    ticket: str | None = None
    session: str | None = None


class CreateTicket(msgspec.Struct, forbid_unknown_fields=True):
    origin: str | None = None


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class CreateToken(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    roles: list[str]
    expires_in: Duration | UnsetType | None = UNSET


class RenewToken(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    expires_in: Duration | UnsetType | None = UNSET


class RevokeToken(msgspec.Struct, forbid_unknown_fields=True):
    name: str


@method("auth.login", Login, Requires.ANONYMOUS)
async def login(call: Call, params: Login) -> Caller:
    """Authenticate a connection that was opened without credentials."""
    session = call.session
    if session.logged_in:
        raise InvalidRequest(f"already logged in as {session.caller.name}; expected auth.login once on a connection")
    credentials = _presented(params, session.address)
    session.authenticated_at = time.monotonic()
    if credentials.scheme in ("bearer", "basic"):
        principal = await session.services.admission.admit(credentials, method=call.method)
        await session.log_in(principal)
        return Caller.of(principal)
    page = await session.services.admission.admit_page(credentials, session.origin, call.method)
    session.page_session = page.session
    await session.log_in(page.principal)
    return replace(Caller.of(page.principal), session=page.secret or UNSET)


def _presented(params: Login, address: str) -> Credentials:
    """Return the credentials in a login; raise InvalidParams."""
    given = {name: value for name, value in msgspec.structs.asdict(params).items() if value is not None}
    match given:
        case {"token": token} if len(given) == 1:
            return Credentials("bearer", token=token, address=address)
        case {"username": username, "password": password} if len(given) == 2:
            return Credentials("basic", username=username, password=password, address=address)
        case {"ticket": code} if len(given) == 1:
            return Credentials("ticket", token=code, address=address)
        case {"session": secret} if len(given) == 1:
            return Credentials("session", token=secret, address=address)
    expected = "expected either a token, a username and a password, a ticket, or the session of a page"
    raise InvalidParams(f"token: {expected}", field="token")


@method("auth.ticket", CreateTicket, Requires.LOGIN)
def ticket(call: Call, params: CreateTicket) -> Ticket:
    """Return a code with which one page in a browser becomes this caller, once and soon."""
    services, caller = call.session.services, call.session.caller
    own = services.address.replace("wss://", "https://", 1).removesuffix(PATH)
    origin = services.origins.page(own if params.origin is None else params.origin)
    is_own = origin is not None and services.origins.is_own(origin)
    if origin is None or (is_own and not services.config.web.enabled):
        expected = "expected one of server.origins" + (", or of this agent" if services.config.web.enabled else "")
        raise InvalidParams(f"origin: {str(params.origin)[:200]!r} may not connect; {expected}", field="origin")
    code = services.pages.create_ticket(caller, origin, call.session.certificate)
    end = rfc3339(time.time_ns() + int(TICKET_SECONDS * 1e9))
    return Ticket(code, end, origin, f"{origin}{services.config.web.path}/" if is_own else UNSET)


@method("auth.logout", Nothing, Requires.LOGIN)
def logout(call: Call, params: Nothing) -> bool:
    """End this connection and, in a page that has a session, the session with all of its connections."""
    session, sessions = call.session, call.session.services.sessions
    if session.page_session:
        session.services.pages.end(session.page_session)
        sessions.end_page(session.page_session, spare=session)
    session.drop()
    call.after.append(partial(sessions.close_ended, session, "logged out"))
    return True


@method("auth.whoami", Nothing, Requires.LOGIN)
def whoami(call: Call, params: Nothing) -> Caller:
    """Return the principal of this connection, and what it may do."""
    grants = [msgspec.convert(grant, CallerGrant, from_attributes=True) for grant in call.permissions.grants]
    methods = sorted(name for name, requires in REQUIRES.items() if call.permissions.allows(name, requires))
    return replace(Caller.of(call.session.caller), grants=grants, methods=methods)


@method("token.create", CreateToken, Requires.ADMIN)
def create(call: Call, params: CreateToken) -> NewToken:
    """Create a token and return it: the agent keeps only its hash."""
    services = call.session.services
    expires_in = _lifetime(call, params.expires_in)
    roles = set().union(*(services.registry.roles[name] for name in services.config.auth.authorizers))
    try:
        token = services.tokens.create(params.name, params.roles, sorted(roles), expires_in)
    except InvalidSpec as error:
        raise InvalidParams(error.message, **error.data) from error
    return NewToken(params.name, params.roles, token, _end(call, params.name))


@method("token.renew", RenewToken, Requires.ADMIN)
def renew(call: Call, params: RenewToken) -> RenewedToken:
    """Return a new secret for a token, which keeps its roles and its jobs; the old one ends at once."""
    token = call.session.services.tokens.renew(params.name, _lifetime(call, params.expires_in))
    if token is None:
        raise _unknown(params.name)
    _end_sessions(call, params.name)
    return RenewedToken(params.name, token, _end(call, params.name))


@method("token.list", Nothing, Requires.ADMIN)
def list_(call: Call, params: Nothing) -> Tokens:
    """List the tokens, without their secrets."""
    last_used = call.session.services.tokens.last_used()
    return Tokens(
        [
            Token(
                name=record.name,
                id=f"token:{record.id}",
                roles=record.roles,
                created_at=record.created_at,
                expires_at=_time(record.expires_at),
                last_used=_time(last_used.get(record.id)),
            )
            for record in call.session.services.tokens.records()
        ]
    )


@method("token.revoke", RevokeToken, Requires.ADMIN)
def revoke(call: Call, params: RevokeToken) -> bool:
    """Revoke a token and close its connections."""
    if not call.session.services.tokens.revoke(params.name):
        raise _unknown(params.name)
    _end_sessions(call, params.name)
    return True


def _unknown(name: str) -> InvalidParams:
    return InvalidParams(f"name: there is no token {name[:80]!r}", field="name")


def _end_sessions(call: Call, name: str) -> None:
    """End the sessions that were opened with the secret that a token had."""
    services, caller = call.session.services, call.session.caller
    # A caller that ends its own token gets its answer before its session is closed, and may do nothing more.
    services.admission.revoke("token", name, spare=call.session)
    if (caller.provider, caller.name) == ("token", name):
        call.after.append(partial(services.sessions.close_revoked, call.session))


def _lifetime(call: Call, expires_in: Duration | UnsetType | None) -> float | None:
    """Return how long a token is valid, in seconds; None: it has no end. Raises InvalidSpec."""
    if expires_in in (None, "never"):
        return None
    if expires_in is UNSET:
        return seconds(call.session.services.config.auth.token_lifetime, "auth.token_lifetime") or None
    return seconds(expires_in, "expires_in")


def _end(call: Call, name: str) -> str | None:
    return next(_time(record.expires_at) for record in call.session.services.tokens.records() if record.name == name)


def _time(moment: float | None) -> str | None:
    return None if moment is None else rfc3339(int(moment * 1e9))
