"""Answers about callers: their principals, tokens and connections."""

from msgspec import UNSET, Struct, UnsetType

from jobworker.model import Principal


class CallerGrant(Struct, frozen=True):
    """What a caller may do, see `jobworker.interfaces.Grant`: for methods and labels of jobs that match."""

    look: str
    control: str
    create: bool
    admin: bool
    methods: list[str]
    labels: dict[str, str]


class Caller(Struct, frozen=True, kw_only=True):
    """A principal; `id` is the owner of its jobs, if that is not PROVIDER:NAME.

    `expires_at` is in seconds since 1970; None: the credentials do not expire. Only `auth.whoami` answers `grants`
    and `methods`, those that it may call at all: of one job it may still be refused.
    `session` is the secret with which a page logs in again, only in the answer to a login by a ticket.
    """

    name: str
    provider: str
    roles: list[str] = []
    issuer: str = ""
    expires_at: float | None = None
    subject: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    grants: list[CallerGrant] | UnsetType = UNSET
    methods: list[str] | UnsetType = UNSET
    session: str | UnsetType = UNSET

    @classmethod
    def of(cls, principal: Principal) -> "Caller":
        plain = f"{principal.provider}:{principal.name}"
        return cls(
            name=principal.name,
            provider=principal.provider,
            roles=principal.roles,
            issuer=principal.issuer,
            expires_at=principal.expires_at,
            subject=principal.subject or UNSET,
            id=principal.id if principal.id != plain else UNSET,
        )


class Ticket(Struct, frozen=True):
    """A code with which a page of `origin` logs in, once; `url` is the agent's own page, if it is of that origin."""

    ticket: str
    expires_at: str
    origin: str
    url: str | UnsetType = UNSET


class NewToken(Struct, frozen=True):
    """A token with its secret, which the agent returns only here; `expires_at` None: it does not expire."""

    name: str
    roles: list[str]
    token: str
    expires_at: str | None


class RenewedToken(Struct, frozen=True):
    """The new secret of a token."""

    name: str
    token: str
    expires_at: str | None


class Token(Struct, frozen=True):
    """A token without its secret; `id` is the principal."""

    name: str
    id: str
    roles: list[str]
    created_at: str
    expires_at: str | None
    last_used: str | None


class Tokens(Struct, frozen=True):
    tokens: list[Token]


class Connected(Struct, frozen=True):
    """An open connection; `principal` is None before its login, `own` marks the connection of the call."""

    id: str
    principal: str | None
    roles: list[str]
    address: str
    since: str
    own: bool


class Sessions(Struct, frozen=True):
    sessions: list[Connected]


class SessionsEnded(Struct, frozen=True):
    """How many sessions were ended."""

    ended: int
