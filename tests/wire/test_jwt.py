"""JSON Web Tokens of an issuer that really serves its keys: whom they let in, and what does not."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import itertools
import json
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.conftest import FOR_OTHERS
from tests.support.authority import SERVER, Authority
from tests.support.issuer import AUDIENCE, MAKE, Issuer, b64, public_jwk

from jobworker.client import connect
from jobworker.config import BUILT_IN
from jobworker.errors import TokenExpired, Unauthenticated
from jobworker.interfaces import Credentials
from jobworker.model import Principal
from jobworker.protocol import encode_bearer
from jobworker.testing import load
from jobworker_plugins import jwks
from jobworker_plugins import jwt as jwt_plugin

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Dial, Upgrade

Start = Callable[..., "RunningAgent"]
ALGORITHMS = ["RS256", "ES256", "EdDSA"]
GOOD = '{"alg":"RS256","kid":"rsa"}'  # a header
DEADLINE = 15.0


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


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer with a key of each kind."""
    running = Issuer()
    for kid, algorithm in (("one", "ES256"), ("rsa", "RS256"), ("ed", "EdDSA")):
        running.add(kid, algorithm)
    yield running
    running.close()


class Clock:
    """The clock on which keys age, moved by hand."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def __call__(self) -> float:
        return self.moment


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(jwks, "now", clock)
    return clock


# Who gets in


@pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "RS256"), ("one", "ES256"), ("ed", "EdDSA")])
async def test_a_good_token(issuer: Issuer, kid: str, algorithm: str) -> None:
    """Name, issuer, roles and end of the principal are the token's."""
    end = int(time.time()) + 300
    who = await known(rules(issuer)).ask(issuer.token(kid, algorithm, exp=end))
    assert who == Principal("alice", "jwt", ["admin"], issuer=issuer.name, expires_at=end + 30)
    assert who.id == f"{issuer.name}:alice"


async def test_what_the_rules_make_of_it(issuer: Issuer) -> None:
    """The claims for name and roles, whom the token is for, and the roles of those for whom there is no rule."""
    token = issuer.token
    mapped = known(rules(issuer, audience=["other", AUDIENCE], name_claim="email"))
    who = await mapped.ask(token(email="a@example.org", aud=["x", AUDIENCE], roles=["dev", "none", "ops"]))
    assert who
    assert (who.name, who.roles) == ("a@example.org", ["writer", "reader", "admin"])
    assert "email" in await mapped.refusal(token())
    for claim in (None, "Not ops", ["nobody"], [], {"ops": 1}, 5, [["ops"]]):
        assert "no rule gives it a role" in await known(rules(issuer)).refusal(token(roles=claim))
        default = await known(rules(issuer, default_roles=["reader"])).ask(token(roles=claim))
        assert default
        assert default.roles == ["reader"]
    scope = await known(rules(issuer, roles_claim="scope")).ask(token(scope="openid dev"))
    assert scope
    assert scope.roles == ["writer", "reader"]
    single = await known(rules(issuer)).ask(token(roles="ops"))
    assert single
    assert single.roles == ["admin"]


@pytest.mark.parametrize("name", ["", "a\nb", "a" * 256, "\u202egnp.exe", 5, None, ["a"], {"a": 1}], ids=repr)
async def test_a_name_that_no_log_should_hold(issuer: Issuer, name: Any) -> None:
    assert await known(rules(issuer, name_claim="nick")).refusal(issuer.token(nick=name))


async def test_what_is_not_ours(issuer: Issuer) -> None:
    """Other tokens, and those of other issuers, are left to other providers."""
    provider = known(rules(issuer))
    for token in ("", "x", "a.b", "a.b.c.d", "a.b.c", "jw1_" + "A" * 43, issuer.token(iss="https://other.example")):
        assert await provider.ask(token) is None
    assert issuer.requests == 0
    basic = Credentials("basic", username="a", password=issuer.token())
    assert await provider.given(basic) is None


async def test_two_issuers(issuer: Issuer) -> None:
    """Each vouches with its own keys and for its own people: the same name is another principal."""
    other = Issuer()
    try:
        other.add("one")
        provider = known(rules(issuer), rules(other, audience="else", default_roles=["reader"], roles={}))
        mine, theirs = await provider.ask(issuer.token()), await provider.ask(other.token(aud="else"))
        assert mine
        assert theirs
        assert mine.id != theirs.id
        assert theirs.roles == ["reader"]
        assert "Signature" in await provider.refusal(issuer.token(iss=other.name, aud="else"))
        assert "udience" in await provider.refusal(other.token())
    finally:
        other.close()


# Claims that do not hold


async def test_claims_that_do_not_hold(issuer: Issuer) -> None:
    """Each is refused for what is wrong with it, whoever signed."""
    provider = known(rules(issuer))
    now = int(time.time())
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("udience", {"aud": "somebody else"}),
        ("udience", {"aud": [AUDIENCE + "x", ""]}),
        ("claim format", {"aud": {AUDIENCE: AUDIENCE}}),
        ('"aud"', {"aud": None}),
        ("exp", {"exp": None}),
        ("not yet valid", {"nbf": now + 60}),
        ("not yet valid", {"iat": now + 60}),
    ]
    for words, claims in wrong:
        assert words in await provider.refusal(issuer.token(**claims)), claims
    never: list[Any] = ["never", [], {"a": 1}, 1e300, 10**400]
    for end in (*never, str(now + 60), True, -1):
        assert "exp" in await provider.refusal(issuer.token(exp=end)), end
    for name in ("nbf", "iat"):
        for moment in never:
            claims = {name: moment}
            assert await provider.refusal(issuer.token(**claims)), claims


async def test_an_expired_token(issuer: Issuer) -> None:
    """It says so, with a code of its own: but only of one that was good."""
    provider = known(rules(issuer))
    past = int(time.time()) - 60
    with pytest.raises(TokenExpired, match=r"expired at \d{4}-"):
        await provider.ask(issuer.token(exp=past))
    issuer.keys["one"] = MAKE["ES256"]()
    with pytest.raises(Unauthenticated, match="Signature"):
        await provider.ask(issuer.token(exp=past))


async def test_leeway(issuer: Issuer) -> None:
    """Clocks differ: by so much a token may be late or early."""
    now = int(time.time())
    lenient, strict = known(rules(issuer, leeway="5m")), known(rules(issuer, leeway=0))
    late: list[dict[str, Any]] = [{"exp": now - 200}, {"nbf": now + 200}, {"iat": now + 200}]
    for claims in late:
        assert await lenient.ask(issuer.token(**claims))
        assert await strict.refusal(issuer.token(**claims))


# Signatures that do not hold


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
    """A key serves for the algorithms of its kind, and for one alone where it says so."""
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
    """It is taken where it can only mean one."""
    provider = known(rules(issuer))
    assert await provider.ask(unnamed(issuer))
    issuer.add("two")
    assert "which names none" in await known(rules(issuer)).refusal(unnamed(issuer))


def unnamed(issuer: Issuer) -> str:
    return jwt.encode(issuer.claims(), issuer.keys["one"], "ES256")


# Tokens that are no tokens


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


async def test_malformed_tokens(issuer: Issuer) -> None:
    """None lets anybody in, none is more than a refusal, and the provider works on."""
    provider = known(rules(issuer))
    for what, token in malformed(issuer).items():
        try:
            assert await provider.ask(token) is None, what
        except Unauthenticated:
            pass
    assert await provider.ask(issuer.token())


def test_the_depth_of_a_jwks_is_bounded(issuer: Issuer) -> None:
    """32 levels are read, more are not."""
    keys = json.dumps({"keys": issuer.jwks})[:-1]
    for inner, taken in ((31, True), (32, False), (900, False)):
        body = f'{keys},"x":{"[" * inner}{"]" * inner}}}'.encode()
        with nullcontext() if taken else pytest.raises(ValueError, match="no JWKS"):
            jwks.KeySet(body, ["ES256"])


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


# The keys


async def test_keys_are_fetched_once(issuer: Issuer) -> None:
    """However many tokens come at once, and as long as the keys are fresh."""
    provider = known(rules(issuer))
    assert issuer.requests == 0, "an agent starts without its issuers"
    assert all(await asyncio.gather(*(provider.ask(issuer.token()) for _ in range(50))))
    assert issuer.requests == 1


async def test_rotation(issuer: Issuer, clock: Clock) -> None:
    """A new key is found as soon as a token names it; an old one is gone with the age of what was fetched."""
    provider = known(rules(issuer, jwks_max_age="10m"))
    old = issuer.token()
    assert await provider.ask(old)
    clock.moment += 1
    issuer.jwks = []
    issuer.add("two")
    assert all(await asyncio.gather(*(provider.ask(issuer.token("two")) for _ in range(20))))
    assert issuer.requests == 2
    assert "has no key" in await provider.refusal(old)
    clock.moment += 1
    issuer.jwks = []
    issuer.add("three")
    assert await provider.ask(issuer.token("two")), "nobody told us"
    clock.moment += 600
    assert "has no key" in await provider.refusal(issuer.token("two"))
    assert await provider.ask(issuer.token("three"))
    assert issuer.requests == 3


async def test_a_thousand_unknown_keys(issuer: Issuer, clock: Clock) -> None:
    """They cost the issuer one request in each cool-down, and nobody else anything."""
    provider = known(rules(issuer))
    assert await provider.ask(issuer.token())
    clock.moment += 1
    tokens = [issuer.token(header={"kid": f"no{number}"}) for number in range(1000)]
    await asyncio.gather(*(provider.refusal(token) for token in tokens[:500]))
    for token in tokens[500:]:
        clock.moment += 0.01
        await provider.refusal(token)
    assert issuer.requests == 2
    assert await provider.ask(issuer.token())
    clock.moment += jwks.COOLDOWN
    for token in tokens[:10]:
        clock.moment += 0.01
        await provider.refusal(token)
    assert issuer.requests == 3


async def test_an_issuer_that_is_down(issuer: Issuer, clock: Clock) -> None:
    """Its keys serve for a while, it is asked once in a cool-down, and then nobody gets in until it is back."""
    provider = known(rules(issuer, jwks_max_age="10m", stale="1h"))
    assert await provider.ask(issuer.token())
    issuer.status = 503
    clock.moment += 700
    for _ in range(5):
        assert await provider.ask(issuer.token())
    assert issuer.requests == 2
    clock.moment += 3501
    assert "cannot be had" in await provider.refusal(issuer.token())
    assert issuer.requests == 3
    issuer.status = 200
    assert "cannot be had" in await provider.refusal(issuer.token())
    clock.moment += jwks.COOLDOWN
    assert await provider.ask(issuer.token())
    assert issuer.requests == 4


async def test_an_issuer_that_was_never_up(issuer: Issuer, clock: Clock) -> None:
    """Its people wait at the door; the first token after the cool-down lets them in."""
    issuer.status = 500
    provider = known(rules(issuer))
    for _ in range(5):
        assert "cannot be had" in await provider.refusal(issuer.token())
    assert issuer.requests == 1
    issuer.status = 200
    clock.moment += jwks.COOLDOWN
    assert await provider.ask(issuer.token())


async def test_an_issuer_that_does_not_answer(issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long: what there is serves, and the answer is taken when it comes."""
    monkeypatch.setattr(jwks, "WAIT", 0.05)
    provider = known(rules(issuer))
    issuer.gate.clear()
    assert "cannot be had" in await provider.refusal(issuer.token())
    issuer.gate.set()
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                assert await provider.ask(issuer.token())
                break
            except Unauthenticated:
                await asyncio.sleep(0)
    assert issuer.requests == 1
    issuer.gate.clear()
    clock.moment += 700
    assert await provider.ask(issuer.token())
    assert await provider.ask(issuer.token())
    async with asyncio.timeout(60):
        while issuer.requests < 2:  # noqa: ASYNC110  # counted by a thread, which may be late
            await asyncio.sleep(0.01)
    assert issuer.requests == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"keys":5}',
        b'{"keys":{"a":1}}',
        b'{"keys":[]}',
        b'{"keys":[5,null,"x",{}]}',
        b'{"keys":[{"kty":"oct","k":"AAAA","kid":"one"}]}',
        b'{"keys":[{"kty":"RSA","n":5,"e":[]},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":["EC"]}]}',
        b'{"keys":[{"kty":"RSA","n":"","e":""},{"kty":"OKP","crv":"Ed25519","x":""},{"key_ops":5,"kty":"RSA"}]}',
        b"[" * 100_000,
        b'{"keys":[' + b" " * (300 << 10) + b"]}",
        b"\xff\xfe",
    ],
    ids=lambda it: repr(it[:40]),
)
async def test_what_is_no_jwks(issuer: Issuer, clock: Clock, body: bytes) -> None:
    """It is as good as no answer: what was there before serves on."""
    issuer.body = body
    provider = known(rules(issuer))
    assert "cannot be had" in await provider.refusal(issuer.token())
    issuer.body = None
    clock.moment += jwks.COOLDOWN
    assert await provider.ask(issuer.token())
    issuer.body = body
    clock.moment += 700
    assert await provider.ask(issuer.token())
    assert issuer.requests == 3


async def test_keys_that_are_no_use_beside_one_that_is(issuer: Issuer) -> None:
    """What cannot be read or is of another kind is passed over; weak keys open nothing."""
    weak = rsa.generate_private_key(65537, 1024)
    issuer.keys["weak"] = weak
    issuer.jwks[:0] = [{"kty": "oct", "k": "AAAA", "kid": "one"}, {"kty": "new"}, public_jwk(weak, "weak", "RS256")]
    issuer.body = json.dumps({"keys": [5, *issuer.jwks]}).encode()
    provider = known(rules(issuer))
    assert await provider.ask(issuer.token())
    claims = json.dumps(issuer.claims())
    assert await provider.refusal(issuer.raw('{"alg":"RS256","kid":"weak"}', claims, "weak"))


async def test_redirects(issuer: Issuer, clock: Clock) -> None:
    """To another path of the same issuer, and to nobody else."""
    evil = Issuer()
    try:
        evil.keys["one"] = issuer.keys["one"]
        evil.jwks = issuer.jwks
        for elsewhere in (evil.url, f"http://localhost:{issuer.port}/jwks", "file:///etc/passwd", "ftp://x/y"):
            issuer.location = elsewhere
            assert "cannot be had" in await known(rules(issuer)).refusal(issuer.token())
        assert evil.requests == 0
        issuer.location = "/moved"
        assert await known(rules(issuer)).ask(issuer.token())
    finally:
        evil.close()


async def test_keys_in_a_file(issuer: Issuer, tmp_path: Path) -> None:
    """They are read again when the file has changed; while it cannot be used nobody gets in."""
    path = tmp_path / "jwks.json"

    moments = itertools.count()

    def write(text: str) -> None:
        path.write_text(text)
        os.utime(path, (0, next(moments)))

    write(json.dumps({"keys": issuer.jwks}))
    provider = known(rules(issuer, jwks=str(path)))
    old = issuer.token()
    assert await provider.ask(old)
    issuer.jwks = []
    issuer.add("two")
    write(json.dumps({"keys": issuer.jwks}))
    assert "has no key" in await provider.refusal(old)
    assert await provider.ask(issuer.token("two"))
    write("{}")
    assert "cannot be had" in await provider.refusal(issuer.token("two"))
    path.unlink()
    assert "cannot be had" in await provider.refusal(issuer.token("two"))
    write(json.dumps({"keys": issuer.jwks}))
    assert await provider.ask(issuer.token("two"))
    assert issuer.requests == 0


# At an agent


def configuration(issuer: Issuer, **changed: Any) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in rules(issuer, **changed).items() if name != "roles"]
    return (
        '[limits]\nfailed_logins = 10000\n[auth]\nproviders = ["jwt", "token"]\n'
        f"[plugins]\nenabled = {['jwt', *BUILT_IN]}\n"
        "[[plugins.jwt.issuers]]\n" + "\n".join(lines) + f'\nroles = {{ops = ["writer"]}}\n{FOR_OTHERS}'
    )


@pytest.fixture(scope="module")
def served() -> Iterator[Issuer]:
    running = Issuer()
    running.add("one")
    running.add("rsa", "RS256")
    yield running
    running.close()


@pytest.fixture(scope="module")
def agent(start_agent: Start, served: Issuer) -> "RunningAgent":
    return start_agent(config=configuration(served))


async def test_a_token_at_the_door(agent: "RunningAgent", dial: "Dial", served: Issuer) -> None:
    """In the header, as a subprotocol and as the first message; the agent's own tokens are let in beside them."""
    end = int(time.time()) + 300
    token = served.token(exp=end)
    for how in ({"token": token}, {"token": None, "subprotocols": ["jobworker.v1", encode_bearer(token)]}):
        async with dial(agent, **how) as wire:
            who = await wire.ask("auth.whoami")
            assert (who["name"], who["provider"], who["issuer"]) == ("alice", "jwt", served.name)
            job = await wire.ask("job.create", spec={"shell": ":"})
            assert job["owner"] == f"{served.name}:alice"
    async with dial(agent, token=None) as wire:
        assert (await wire.ask("auth.login", token=token))["roles"] == ["writer"]
    async with dial(agent) as wire:
        assert (await wire.ask("auth.whoami"))["provider"] == "token"


async def test_an_expired_token_at_the_door(agent: "RunningAgent", dial: "Dial", served: Issuer) -> None:
    """40102, and 401 at the upgrade."""
    token = served.token(exp=int(time.time()) - 100)
    async with dial(agent, token=None) as wire:
        assert (await wire.refused("auth.login", token=token))["code"] == 40102
    with pytest.raises(Unauthenticated, match="expired at"):
        await connect(agent.address, token=token, ca=agent.ca).__aenter__()


async def test_malformed_tokens_at_the_door(
    agent: "RunningAgent", dial: "Dial", upgrade: "Upgrade", served: Issuer
) -> None:
    """Each is an answer, none a fault of the plugin, and the agent is the same."""
    for what, token in malformed(served).items():
        if len(token) < 6000 and token.isascii() and token.isprintable():
            assert (await upgrade(agent, ("Authorization", f"Bearer {token}")))[0] == 401, what
        elif len(token) < 8000:
            async with dial(agent, token=None) as wire:
                assert (await wire.refused("auth.login", token=token))["code"] == 40101, what
    async with dial(agent) as wire:
        plugins = (await wire.ask("agent.info"))["plugins"]
    state = next(each for each in plugins if each["name"] == "jwt")
    assert (state["faults"], state["blocked"]) == (0, False)
    assert "Traceback" not in agent.home.agent_log.read_text()


async def test_an_agent_starts_without_its_issuer(start_agent: Start, dial: "Dial", served: Issuer) -> None:
    """Who has a token of the agent's own gets in; who has one of the issuer is told that it cannot be checked."""
    gone = Issuer()
    gone.add("one")
    gone.close()
    agent = start_agent(config=configuration(gone))
    async with dial(agent) as wire:
        assert (await wire.ask("auth.whoami"))["provider"] == "token"
    with pytest.raises(Unauthenticated, match="cannot be had"):
        await connect(agent.address, token=gone.token(), ca=agent.ca).__aenter__()
    assert "the keys could not be fetched" in agent.home.agent_log.read_text()


async def test_tls_of_the_issuer(
    start_agent: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dial: "Dial"
) -> None:
    """Keys come from whom the system's CAs vouch for (SSL_CERT_FILE names others), and from nobody else."""
    authority = Authority(tmp_path)
    local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    pair = authority.issue("issuer", names=[local], usage=[SERVER])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    issuer = Issuer(context)
    try:
        issuer.add("one")
        distrustful = start_agent(config=configuration(issuer))
        with pytest.raises(Unauthenticated, match="cannot be had"):
            await connect(distrustful.address, token=issuer.token(), ca=distrustful.ca).__aenter__()
        assert "CERTIFICATE_VERIFY_FAILED" in distrustful.home.agent_log.read_text()
        assert issuer.requests == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
        async with dial(start_agent(config=configuration(issuer)), token=issuer.token()) as wire:
            assert (await wire.ask("auth.whoami"))["name"] == "alice"
    finally:
        issuer.close()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="earlier versions of Python take such a certificate")
async def test_a_certificate_that_lacks_something(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what the issuer's certificate lacks."""
    authority = Authority(tmp_path, without="keys")
    pair = authority.issue("issuer", names=[x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], usage=[SERVER])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    lax = Issuer(context)
    try:
        lax.add("one")
        assert "cannot be had" in await known(rules(lax)).refusal(lax.token())
    finally:
        lax.close()
    assert "has no Authority Key Identifier, which Python 3.13 and later refuse" in caplog.text
