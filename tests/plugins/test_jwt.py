"""JSON Web Tokens of an issuer that really serves its keys: which are accepted and which are refused."""

import time
from typing import Any

import pytest
from tests.support.issuer import AUDIENCE, MAKE, Issuer
from tests.support.jwt_provider import known, rules

from jobworker.errors import TokenExpired, Unauthenticated
from jobworker.interfaces import Credentials
from jobworker.model import Principal

# Who gets in


@pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "RS256"), ("one", "ES256"), ("ed", "EdDSA")])
async def test_a_good_token(issuer: Issuer, kid: str, algorithm: str) -> None:
    """Name, issuer, roles and end of the principal are the token's."""
    end = int(time.time()) + 300
    who = await known(rules(issuer)).ask(issuer.token(kid, algorithm, exp=end))
    assert who == Principal("alice", "jwt", ["admin"], issuer=issuer.name, expires_at=end + 30)
    assert who.id == f"{issuer.name}:alice"


async def test_what_the_rules_make_of_it(issuer: Issuer) -> None:
    """The claims for name, roles and audience, and the default roles."""
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
    """Each is refused with its own reason, although the signature is valid."""
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
    """It has an error code of its own, but only if the token was valid before."""
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
