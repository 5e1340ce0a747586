"""JSON Web Tokens that are forged or malformed."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.issuer import MAKE, Issuer, b64, public_jwk
from tests.support.jwt_provider import GOOD, known, malformed, rules

from jobworker.errors import Unauthenticated


async def test_algorithms_that_are_not_the_issuers(issuer: Issuer) -> None:
    """None, and HMAC with what is public as its secret, in every form in which that may be had."""
    provider = known(rules(issuer))
    public = issuer.keys["rsa"].public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(issuer.jwks[1]).encode(),
        json.dumps(issuer.jwks[1], separators=(",", ":")).encode(),
        base64.urlsafe_b64decode(issuer.jwks[1]["n"] + "=="),
    ]
    claims = json.dumps(issuer.claims())
    for secret in secrets:
        signed = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'rsa'}).encode())}.{b64(claims.encode())}"
        forged = f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
        assert "alg: 'HS256'" in await provider.refusal(forged)
    for none in ("none", "None", "NONE", "nOnE", "", "RS512", "rs256"):
        header = b64(json.dumps({"alg": none, "kid": "rsa"}).encode())
        for signature in ("", b64(b"x")):
            assert "alg: " in await provider.refusal(f"{header}.{b64(claims.encode())}.{signature}")


async def test_an_algorithm_that_is_not_the_keys(issuer: Issuer) -> None:
    """A key is used for the algorithms of its type, or for the one in its `alg`."""
    provider = known(rules(issuer, algorithms=["RS256", "PS256", "ES256", "ES384"]))
    assert await provider.ask(issuer.token("rsa", "PS256"))
    for token in (
        jwt.encode(issuer.claims(), MAKE["RS256"](), "RS256", {"kid": "one"}),
        jwt.encode(issuer.claims(), MAKE["ES384"](), "ES384", {"kid": "one"}),
    ):
        assert "has no key" in await provider.refusal(token)
    issuer.add("fixed", "RS256", alg="RS256")
    issuer.add("enc", "RS256", use="enc")
    issuer.add("ops", "RS256", key_ops=["encrypt"])
    provider = known(rules(issuer, algorithms=["RS256", "PS256"]))
    assert await provider.ask(issuer.token("fixed", "RS256"))
    for kid, algorithm in (("fixed", "PS256"), ("enc", "RS256"), ("ops", "RS256")):
        assert "has no key" in await provider.refusal(issuer.token(kid, algorithm))


async def test_what_is_changed_after_signing(issuer: Issuer) -> None:
    """Any other header, payload or signature: the token is refused."""
    provider = known(rules(issuer))
    header, payload, signature = issuer.token("rsa", "RS256").split(".")
    other = issuer.token("rsa", "RS256", sub="mallory").split(".")
    for token in (
        f"{header}.{other[1]}.{signature}",
        f"{other[0]}.{payload}.{other[2]}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[:-4]}",
        f"{header}.{payload}.{signature}AAAA",
        f"{b64(GOOD.encode() + b' ')}.{payload}.{signature}",
    ):
        assert await provider.refusal(token)


async def test_keys_that_a_token_brings_along(issuer: Issuer) -> None:
    """`jwk`, `jku`, `x5u`, `x5c` are not looked at; a `kid` is a name and nothing else; `crit` is refused."""
    provider = known(rules(issuer))
    evil = Issuer()
    try:
        own = evil.add("one")
        brought: list[dict[str, Any]] = [
            {"jwk": public_jwk(own, "one", "ES256")},
            {"jku": evil.url},
            {"x5u": evil.url},
            {"x5c": ["AAAA"]},
        ]
        for header in brought:
            forged = jwt.encode(issuer.claims(), own, "ES256", {"kid": "one"} | header)
            assert "Signature" in await provider.refusal(forged)
            assert await provider.ask(issuer.token(header=header))
        assert evil.requests == 0
    finally:
        evil.close()
    for kid in ("../../etc/passwd", "' or 1=1 --", evil.url, "/dev/null", "", "\0", "k" * 3000):
        assert "has no key" in await provider.refusal(issuer.token(header={"kid": kid}))
    claims = json.dumps(issuer.claims())
    others: list[dict[str, Any]] = [{"crit": critical, "b64": True} for critical in (["exp"], ["b64"], [])]
    for more in [*others, {"b64": False}, {"kid": 5}, {"kid": []}, {"kid": {}}]:
        assert await provider.refusal(issuer.raw(json.dumps({"alg": "RS256", "kid": "rsa"} | more), claims, "rsa"))


async def test_a_token_that_names_no_key(issuer: Issuer) -> None:
    """It is accepted if only one key matches."""
    provider = known(rules(issuer))
    assert await provider.ask(unnamed(issuer))
    issuer.add("two")
    assert "a token without kid" in await known(rules(issuer)).refusal(unnamed(issuer))


def unnamed(issuer: Issuer) -> str:
    return jwt.encode(issuer.claims(), issuer.keys["one"], "ES256")


async def test_malformed_tokens(issuer: Issuer) -> None:
    """Each is refused without another error, and the provider works on."""
    provider = known(rules(issuer))
    for what, token in malformed(issuer).items():
        try:
            assert await provider.ask(token) is None, what
        except Unauthenticated:
            pass
    assert await provider.ask(issuer.token())


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
async def test_the_depth_of_a_token_is_bounded(issuer: Issuer, opening: str, closing: str) -> None:
    """Claims of 32 levels are read, more are not, whatever this Python's decoder could read."""
    provider = known(rules(issuer))
    claims = json.dumps(issuer.claims())[:-1]
    for inner, taken in ((31, True), (32, False), (900, False)):
        token = issuer.raw(GOOD, f'{claims},"x":{opening * inner}0{closing * inner}}}', "rsa")
        assert bool(await provider.ask(token)) == taken, inner


async def test_a_huge_token_is_not_read(issuer: Issuer) -> None:
    """Its length is all that is looked at."""
    provider = known(rules(issuer))
    good = issuer.token("rsa", "RS256", x="y" * 4000)
    assert len(good) < 8192
    assert await provider.ask(good)
    assert "expected at most 8192" in await provider.refusal(issuer.token("rsa", "RS256", x="y" * 8000))
