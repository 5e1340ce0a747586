"""JSON Web Tokens: how the issuer's keys are fetched, kept and renewed."""

import asyncio
import ipaddress
import itertools
import json
import os
import ssl
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.authority import SERVER, Authority
from tests.support.issuer import Issuer, public_jwk
from tests.support.jwt_provider import Clock, known, rules
from tests.support.waiting import DEADLINE

from jobworker.errors import Unauthenticated
from jobworker_plugins import jwks


def test_the_depth_of_a_jwks_is_bounded(issuer: Issuer) -> None:
    """32 levels are read, more are not."""
    keys = json.dumps({"keys": issuer.jwks})[:-1]
    for inner, taken in ((31, True), (32, False), (900, False)):
        body = f'{keys},"x":{"[" * inner}{"]" * inner}}}'.encode()
        with nullcontext() if taken else pytest.raises(ValueError, match="not a JWKS"):
            jwks.KeySet(body, ["ES256"])


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
    """They cause one request to the issuer in each cool-down, and delay no other login."""
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
    clock.moment += jwks.COOLDOWN_SECONDS
    for token in tokens[:10]:
        clock.moment += 0.01
        await provider.refusal(token)
    assert issuer.requests == 3


async def test_an_issuer_that_is_down(issuer: Issuer, clock: Clock) -> None:
    """Its keys are used for a while, with one fetch in each cool-down; then tokens are refused until it is back."""
    provider = known(rules(issuer, jwks_max_age="10m", stale="1h"))
    assert await provider.ask(issuer.token())
    issuer.status = 503
    clock.moment += 700
    for _ in range(5):
        assert await provider.ask(issuer.token())
    assert issuer.requests == 2
    clock.moment += 3501
    assert "are not available" in await provider.refusal(issuer.token())
    assert issuer.requests == 3
    issuer.status = 200
    assert "are not available" in await provider.refusal(issuer.token())
    clock.moment += jwks.COOLDOWN_SECONDS
    assert await provider.ask(issuer.token())
    assert issuer.requests == 4


async def test_an_issuer_that_was_never_up(issuer: Issuer, clock: Clock) -> None:
    """Its people wait at the door; the first token after the cool-down lets them in."""
    issuer.status = 500
    provider = known(rules(issuer))
    for _ in range(5):
        assert "are not available" in await provider.refusal(issuer.token())
    assert issuer.requests == 1
    issuer.status = 200
    clock.moment += jwks.COOLDOWN_SECONDS
    assert await provider.ask(issuer.token())


async def test_an_issuer_that_does_not_answer(issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """No login waits for long: the old keys are used, and new ones when they come."""
    monkeypatch.setattr(jwks, "WAIT_SECONDS", 0.05)
    provider = known(rules(issuer))
    issuer.gate.clear()
    assert "are not available" in await provider.refusal(issuer.token())
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
    assert "are not available" in await provider.refusal(issuer.token())
    issuer.body = None
    clock.moment += jwks.COOLDOWN_SECONDS
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
    """To another path of the same issuer, and to no other host."""
    evil = Issuer()
    try:
        evil.keys["one"] = issuer.keys["one"]
        evil.jwks = issuer.jwks
        for elsewhere in (evil.url, f"http://localhost:{issuer.port}/jwks", "file:///etc/passwd", "ftp://x/y"):
            issuer.location = elsewhere
            assert "are not available" in await known(rules(issuer)).refusal(issuer.token())
        assert evil.requests == 0
        issuer.location = "/moved"
        assert await known(rules(issuer)).ask(issuer.token())
    finally:
        evil.close()


async def test_keys_in_a_file(issuer: Issuer, tmp_path: Path) -> None:
    """They are read again when the file has changed; while it cannot be used all tokens are refused."""
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
    assert "are not available" in await provider.refusal(issuer.token("two"))
    path.unlink()
    assert "are not available" in await provider.refusal(issuer.token("two"))
    write(json.dumps({"keys": issuer.jwks}))
    assert await provider.ask(issuer.token("two"))
    assert issuer.requests == 0


@pytest.mark.skipif(sys.version_info < (3, 13), reason="earlier versions of Python take such a certificate")
async def test_a_certificate_that_lacks_something(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has what the issuer's certificate lacks."""
    authority = Authority(tmp_path, without="keys")
    pair = authority.issue("issuer", names=[x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], usage=[SERVER])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    lax = Issuer(context)
    try:
        lax.add("one")
        assert "are not available" in await known(rules(lax)).refusal(lax.token())
    finally:
        lax.close()
    assert "has no Authority Key Identifier, which Python 3.13 and later refuse" in caplog.text
