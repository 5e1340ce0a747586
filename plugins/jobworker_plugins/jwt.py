"""Auth provider `jwt`: JSON Web Tokens of configured issuers, checked with the keys that they publish."""

import base64
import ipaddress
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from jobworker.interfaces import (
    AuthProvider,
    Credentials,
    Duration,
    PluginContext,
    Principal,
    StartError,
    TokenExpired,
    Unauthenticated,
    duration,
    hookimpl,
    positive,
    rfc3339,
    too_deep,
    usable_name,
)

try:
    import jwt

    from jobworker_plugins.jwks import FetchedKeys, FileKeys, Keys, Unavailable
except ImportError as error:
    raise StartError(f"{error}", hint="pip install 'jobworker[jwt]'") from error

LONGEST = 8192  # bytes of a token
SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LATEST = 253402300799  # the last second of the year 9999: more is no time
MAX_LEEWAY = 300.0


class IssuerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of `issuers`; `docs/how-to/other-credentials.md` describes each field."""

    issuer: str
    audience: str | list[str]
    algorithms: list[str]
    jwks: str
    jwks_max_age: Duration = "10m"
    stale: Duration = "1h"
    leeway: Duration = "30s"
    name_claim: str = "sub"
    roles_claim: str = ""
    roles: dict[str, list[str]] = {}
    default_roles: list[str] = []


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    issuers: list[IssuerSettings]


class Issuer:
    """Whom one issuer vouches for."""

    def __init__(self, rules: IssuerSettings, field: str, log: logging.Logger) -> None:
        """Raise ValueError, with the field, for rules that cannot be used."""
        self._rules = rules
        self._audience = [rules.audience] if isinstance(rules.audience, str) else rules.audience
        for name in ("issuer", "name_claim"):
            if not getattr(rules, name):
                raise ValueError(f"{field}.{name}: ''; expected a text")
        if not self._audience or "" in self._audience:
            raise ValueError(f"{field}.audience: {rules.audience!r}; expected whom its tokens for this agent are for")
        unfit = [name for name in rules.algorithms if name not in ALGORITHMS]
        if unfit or not rules.algorithms:
            raise ValueError(f"{field}.algorithms: {rules.algorithms!r}; expected some of {', '.join(ALGORITHMS)}")
        self._leeway = duration(rules.leeway, f"{field}.leeway")
        if self._leeway > MAX_LEEWAY:
            raise ValueError(f"{field}.leeway: {rules.leeway!r}; expected at most {MAX_LEEWAY:g} seconds")
        self._keys = _keys(rules, field, log)

    async def principal(self, token: str, header: dict[str, Any], claims: dict[str, Any]) -> Principal:
        """Return whom a token of this issuer is about; raise Unauthenticated or TokenExpired."""
        key = await self._key(header)
        moments = {name: _moment(name, claims[name]) for name in ("exp", "nbf", "iat") if name in claims}
        try:
            verified = self._verify(token, key)
        except jwt.ExpiredSignatureError as error:
            end = rfc3339(int(moments["exp"]) * 10**9)
            raise TokenExpired(f"the token of {self._rules.issuer} expired at {end}") from error
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token of {self._rules.issuer} is refused: {error}") from error
        name = usable_name(verified.get(self._rules.name_claim), f"the token's {self._rules.name_claim}")
        roles = self._roles(verified)
        if not roles:
            raise Unauthenticated(f"{self._rules.issuer} vouches for {name!r}, but no rule gives it a role")
        expires_at = moments["exp"] + self._leeway  # as long as it would let a caller in
        return Principal(name, "jwt", roles, issuer=self._rules.issuer, expires_at=expires_at)

    def _verify(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=self._audience,
            issuer=self._rules.issuer,
            leeway=self._leeway,
            options={"require": ["exp", "iss", "aud"]},
        )

    async def _key(self, header: dict[str, Any]) -> jwt.PyJWK:
        """Return the key that the token names, one that is the issuer's; raise Unauthenticated.

        Keys, and places of keys, that a token brings along (`jwk`, `jku`, `x5u`) are not looked at.
        """
        algorithm, kid = header["alg"], header.get("kid")
        if algorithm not in self._rules.algorithms:
            expected = " or ".join(self._rules.algorithms)
            raise Unauthenticated(f"the token's alg: {str(algorithm)[:20]!r}; expected {expected}")
        if "crit" in header:
            raise Unauthenticated("the token's crit: nothing that it may name is understood here")
        if kid is not None and not isinstance(kid, str):
            raise Unauthenticated("the token's kid: expected a string")
        try:
            key = await self._keys.find(kid, algorithm)
        except Unavailable as error:
            raise Unauthenticated(f"the keys of {self._rules.issuer} cannot be had") from error
        if key is None:
            named = f"is called {kid[:80]!r}" if kid is not None else "the token can mean, which names none"
            raise Unauthenticated(f"{self._rules.issuer} has no key for {algorithm} that {named}")
        return key

    def _roles(self, claims: dict[str, Any]) -> list[str]:
        value = claims.get(self._rules.roles_claim) if self._rules.roles_claim else None
        if self._rules.roles_claim == "scope" and isinstance(value, str):
            value = value.split()  # RFC 8693: the one claim that is a list in one text
        values = value if isinstance(value, list) else [value]
        found = [role for each in values if isinstance(each, str) for role in self._rules.roles.get(each, [])]
        return [*dict.fromkeys(found or self._rules.default_roles)]


class Jwt:
    name = "jwt"

    def __init__(self, issuers: dict[str, Issuer]) -> None:
        self._issuers = issuers

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        token = credentials.token
        if credentials.scheme != "bearer" or token.count(".") != 2:
            return None
        if len(token) > LONGEST:
            raise Unauthenticated(f"the token has {len(token)} characters; expected at most {LONGEST}")
        try:
            header, claims = _look(token)
        except (ValueError, RecursionError):
            return None  # no JWT, or one of which nobody can say whose it is
        issuer = self._issuers.get(claims["iss"])
        return None if issuer is None else await issuer.principal(token, header, claims)


def _look(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims, of which nothing is checked yet; raise ValueError or RecursionError."""
    match = SHAPE.fullmatch(token)
    if match is None:
        raise ValueError("expected three parts in base64url")
    header, claims = _object(match[1]), _object(match[2])
    if not isinstance(header.get("alg"), str) or not isinstance(claims.get("iss"), str):
        raise ValueError("alg, iss: expected texts")
    return header, claims


def _object(part: str) -> dict[str, Any]:
    """Return the object in a part. What two readers might take differently is refused: the same name twice, NaN.

    So is what is nested too deep.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("the same name twice")
        return found

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    found = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    if not isinstance(found, dict) or too_deep(found):
        raise ValueError("expected an object, not nested too deep")
    return found


def _moment(name: str, value: Any) -> float:
    """Return a time in a token; raise Unauthenticated for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        raise Unauthenticated(f"the token's {name} is no time; expected seconds since 1970, a number")
    return float(value)


def _keys(rules: IssuerSettings, field: str, log: logging.Logger) -> Keys:
    """Return where the keys come from; raise ValueError."""
    max_age = positive(rules.jwks_max_age, f"{field}.jwks_max_age")
    stale = duration(rules.stale, f"{field}.stale")
    try:
        url = urlsplit(rules.jwks)
    except ValueError as error:
        raise ValueError(f"{field}.jwks: {rules.jwks!r}: {error}") from error
    host = url.hostname or ""
    if (url.scheme == "https" and host) or (url.scheme == "http" and _loopback(host)):
        return FetchedKeys(rules.jwks, rules.algorithms, max_age, stale, log)
    if url.scheme or not Path(rules.jwks).is_absolute():
        wanted = "https://…, the path of a file from /, or http:// to this host alone"
        raise ValueError(f"{field}.jwks: {rules.jwks!r}; expected {wanted}")
    try:
        return FileKeys(Path(rules.jwks), rules.algorithms, log)
    except ValueError as error:
        raise ValueError(f"{field}.jwks: {error}") from error


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@hookimpl
def register_auth_providers(context: PluginContext[Settings]) -> Iterable[AuthProvider]:
    issuers: dict[str, Issuer] = {}
    given = context.settings.issuers
    if not given:
        raise ValueError(f"[plugins.{context.name}] issuers: []; expected one or more")
    for index, rules in enumerate(given):
        field = f"[plugins.{context.name}] issuers[{index}]"
        if rules.issuer in issuers:
            raise ValueError(f"{field}.issuer: {rules.issuer!r} is there already; expected each issuer once")
        issuers[rules.issuer] = Issuer(rules, field, context.log)
    return [Jwt(issuers)]
