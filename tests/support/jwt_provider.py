"""The provider jwt with an issuer: its rules, what it answers, and tokens that are none."""

import json
from typing import Any

import pytest
from tests.support.issuer import AUDIENCE, Issuer

from jobworker.errors import TokenExpired, Unauthenticated
from jobworker.interfaces import Credentials
from jobworker.model import Principal
from jobworker.testing import load
from jobworker_plugins import jwt as jwt_plugin

ALGORITHMS = ["RS256", "ES256", "EdDSA"]
GOOD = '{"alg":"RS256","kid":"rsa"}'  # a header


class Known:
    """The provider as the agent calls it."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    async def given(self, credentials: Credentials) -> Principal | None:
        found: Principal | None = await self._provider.authenticate(credentials)
        return found

    async def ask(self, token: str) -> Principal | None:
        return await self.given(Credentials("bearer", token=token))

    async def refusal(self, token: str) -> str:
        with pytest.raises((Unauthenticated, TokenExpired)) as caught:
            await self.ask(token)
        return str(caught.value)


def rules(issuer: Issuer, **changed: Any) -> dict[str, Any]:
    return {
        "issuer": issuer.name,
        "audience": AUDIENCE,
        "algorithms": ALGORITHMS,
        "jwks": issuer.url,
        "roles_claim": "roles",
        "roles": {"ops": ["admin"], "dev": ["writer", "reader"]},
    } | changed


def known(*issuers: dict[str, Any]) -> Known:
    return Known(load(jwt_plugin, {"issuers": list(issuers)}).auth_providers["jwt"])


class Clock:
    """The clock on which keys age, moved by hand."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def __call__(self) -> float:
        return self.moment


def malformed(issuer: Issuer) -> dict[str, str]:
    """Return tokens that somebody wrote to break a reader; all that can be are signed well."""
    claims = json.dumps(issuer.claims())
    without = {name: json.dumps(issuer.claims(**{name: None})) for name in ("exp", "nbf", "aud", "sub", "roles")}
    deep = claims[:-1] + ',"x":' + "[" * 2500 + "]" * 2500 + "}"
    header, payload, signature = issuer.raw(GOOD, claims, "rsa").split(".")
    nested = {
        f"{name} {depth} deep": issuer.raw(GOOD, rest[:-1] + f',"{name}":' + "[" * depth + "]" * depth + "}", "rsa")
        for name, rest in without.items()
        for depth in (100, 800, 900, 940, 960, 980, 990)
    }
    return nested | {
        "deep payload": issuer.raw(GOOD, deep, "rsa"),
        "deep unclosed": issuer.raw(GOOD, "[" * 5000, "rsa"),
        "deep objects": issuer.raw(GOOD, '{"a":' * 1000 + "1" + "}" * 1000, "rsa"),
        "deep header": issuer.raw("[" * 2500, claims, "rsa"),
        "iss twice": issuer.raw(GOOD, claims[:-1] + ',"iss":"https://other.example"}', "rsa"),
        "sub twice": issuer.raw(GOOD, claims[:-1] + ',"sub":"root"}', "rsa"),
        "nested twice": issuer.raw(GOOD, claims[:-1] + ',"x":{"a":1,"a":2}}', "rsa"),
        "alg twice": issuer.raw('{"alg":"none","alg":"RS256","kid":"rsa"}', claims, "rsa"),
        "NaN": issuer.raw(GOOD, claims[:-1] + ',"x":NaN}', "rsa"),
        "infinite": issuer.raw(GOOD, claims[:-1] + ',"nbf":-Infinity}', "rsa"),
        "long number": issuer.raw(GOOD, claims[:-1] + ',"x":' + "9" * 5000 + "}", "rsa"),
        "array": issuer.raw(GOOD, "[]", "rsa"),
        "null": issuer.raw(GOOD, "null", "rsa"),
        "text": issuer.raw(GOOD, '"x"', "rsa"),
        "empty object": issuer.raw(GOOD, "{}", "rsa"),
        "trailing": issuer.raw(GOOD, claims + "x", "rsa"),
        "cut": issuer.raw(GOOD, claims[:-1], "rsa"),
        "no UTF-8": issuer.raw(GOOD, claims[:-1].encode() + b',"x":"\xff"}', "rsa"),
        "iss is a list": issuer.raw(GOOD, '{"iss":["x"]}', "rsa"),
        "iss is an object": issuer.raw(GOOD, '{"iss":{"x":1}}', "rsa"),
        "alg is a list": issuer.raw('{"alg":["RS256"]}', claims, "rsa"),
        "alg is missing": issuer.raw('{"kid":"rsa"}', claims, "rsa"),
        "header is an array": issuer.raw("[]", claims, "rsa"),
        "lone surrogate": issuer.raw(GOOD, claims[:-1] + ',"x":"\\ud800"}', "rsa") + "=",
        "surrogate name": issuer.raw(GOOD, claims.replace('"alice"', '"\\ud800"'), "rsa"),
        "padded": f"{header}=.{payload}.{signature}",
        "not the alphabet": f"{header}.{payload}.{signature}+/",
        "space": f"{header}. {payload}.{signature}",
        "line": f"{header}.{payload}.{signature}\n",
        "odd": f"{header}.{payload}.A",
        "short header": f"A.{payload}.{signature}",
        "no payload": f"{header}..{signature}",
        "nothing": "..",
        "not ASCII": f"{header}.{payload}.é",
        "huge": f"{header}.{payload}.{'A' * 200_000}",
        "huge payload": issuer.raw(GOOD, json.dumps(issuer.claims(x="y" * 9000)), "rsa"),
        "five parts": f"{header}.{payload}.{signature}.{payload}.{signature}",
    }
