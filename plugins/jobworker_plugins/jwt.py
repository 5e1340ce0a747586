"""Auth provider `jwt`: JSON Web Tokens of configured issuers, verified with the keys that they publish."""

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

MAX_CHARACTERS = 8192  # of a token
SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LATEST = 253402300799  # the last second of the year 9999: a larger number is a mistake
MAX_LEEWAY = 300.0  # seconds


class IssuerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of `issuers`; `docs/how-to/other-credentials.md` describes each field."""

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
    """The table `[plugins.jwt]`."""

    issuers: list[IssuerSettings]


class Issuer:
    """One issuer: its rules, and the keys that verify its tokens."""

    def __init__(self, rules: IssuerSettings, field: str, log: logging.Logger) -> None:
        """Raise ValueError, with the field, if the rules cannot be used."""
        self._rules = rules
        self._audience = [rules.audience] if isinstance(rules.audience, str) else rules.audience
        for name in ("issuer", "name_claim"):
            if not getattr(rules, name):
                raise ValueError(f"{field}.{name}: ''; expected a text")
        if not self._audience or "" in self._audience:
            raise ValueError(f"{field}.audience: {rules.audience!r}; expected the `aud` of tokens for this agent")
        unfit = [name for name in rules.algorithms if name not in ALGORITHMS]
        if unfit or not rules.algorithms:
            raise ValueError(f"{field}.algorithms: {rules.algorithms!r}; expected some of {', '.join(ALGORITHMS)}")
        self._leeway = duration(rules.leeway, f"{field}.leeway")
        if self._leeway > MAX_LEEWAY:
            raise ValueError(f"{field}.leeway: {rules.leeway!r}; expected at most {MAX_LEEWAY:g} seconds")
        self._keys = _keys(rules, field, log)

    async def principal(self, token: str, header: dict[str, Any], claims: dict[str, Any]) -> Principal:
        """Verify a token of this issuer and return its principal; raise Unauthenticated or TokenExpired."""
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
            raise Unauthenticated(f"the token of {self._rules.issuer} is valid; no rule gives it a role: {name!r}")
        expires_at = moments["exp"] + self._leeway  # the last moment at which this token is accepted
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
        """Return the issuer's key that the token names; raise Unauthenticated.

        Keys and addresses of keys in the token itself (`jwk`, `jku`, `x5u`) are ignored: a forger sets them.
        """
        algorithm, kid = header["alg"], header.get("kid")
        if algorithm not in self._rules.algorithms:
            expected = " or ".join(self._rules.algorithms)
            raise Unauthenticated(f"the token's alg: {str(algorithm)[:20]!r}; expected {expected}")
        if "crit" in header:
            raise Unauthenticated("the token's crit: expected none, this agent supports no critical extensions")
        if kid is not None and not isinstance(kid, str):
            raise Unauthenticated("the token's kid: expected a string")
        try:
            key = await self._keys.find(kid, algorithm)
        except Unavailable as error:
            raise Unauthenticated(f"the keys of {self._rules.issuer} are not available") from error
        if key is None:
            wanted = f"the kid {kid[:80]!r}" if kid is not None else "a token without kid; expected exactly one"
            raise Unauthenticated(f"{self._rules.issuer} has no key for {algorithm} and {wanted}")
        return key

    def _roles(self, claims: dict[str, Any]) -> list[str]:
        """Return the roles for the values of the roles claim, or the default roles if none of them has any."""
        value = claims.get(self._rules.roles_claim) if self._rules.roles_claim else None
        if self._rules.roles_claim == "scope" and isinstance(value, str):
            value = value.split()  # RFC 8693: this claim is a list in one text
        values = value if isinstance(value, list) else [value]
        roles = [role for text in values if isinstance(text, str) for role in self._rules.roles.get(text, [])]
        return [*dict.fromkeys(roles or self._rules.default_roles)]


class Jwt:
    name = "jwt"

    def __init__(self, issuers: dict[str, Issuer]) -> None:
        self._issuers = issuers  # by the claim `iss`

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        token = credentials.token
        if credentials.scheme != "bearer" or token.count(".") != 2:
            return None
        if len(token) > MAX_CHARACTERS:
            raise Unauthenticated(f"the token has {len(token)} characters; expected at most {MAX_CHARACTERS}")
        try:
            header, claims = _parse(token)
        except (ValueError, RecursionError):
            return None  # not a JWT, or one without an issuer: another provider may know it
        issuer = self._issuers.get(claims["iss"])
        return None if issuer is None else await issuer.principal(token, header, claims)


def _parse(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims, not verified; raise ValueError or RecursionError."""
    match = SHAPE.fullmatch(token)
    if match is None:
        raise ValueError("expected three parts in base64url")
    header, claims = _object(match[1]), _object(match[2])
    if not isinstance(header.get("alg"), str) or not isinstance(claims.get("iss"), str):
        raise ValueError("alg, iss: expected texts")
    return header, claims


def _object(part: str) -> dict[str, Any]:
    """Return the JSON object in a part of a token; raise ValueError.

    A name that occurs twice, NaN and deep nesting are refused: two parsers might read them differently.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError("the same name twice")
        return members

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    if not isinstance(value, dict) or too_deep(value):
        raise ValueError("expected an object, not nested too deep")
    return value


def _moment(name: str, value: Any) -> float:
    """Return a time in a token, in seconds since 1970; raise Unauthenticated for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        raise Unauthenticated(f"the token's {name} is not a time; expected a number, in seconds since 1970")
    return float(value)


def _keys(rules: IssuerSettings, field: str, log: logging.Logger) -> Keys:
    """Return the source of an issuer's keys; raise ValueError."""
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
        wanted = "https://…, http:// to this host, or the absolute path of a file"
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
    entries = context.settings.issuers
    if not entries:
        raise ValueError(f"[plugins.{context.name}] issuers: []; expected one or more")
    for index, rules in enumerate(entries):
        field = f"[plugins.{context.name}] issuers[{index}]"
        if rules.issuer in issuers:
            raise ValueError(f"{field}.issuer: {rules.issuer!r} occurs twice; expected each issuer once")
        issuers[rules.issuer] = Issuer(rules, field, context.log)
    return [Jwt(issuers)]
